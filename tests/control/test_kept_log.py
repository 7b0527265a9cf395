import logging

from stowkenfs.control.kept_log import LINE_CHARACTERS_MAX, LINES_MAX, KeptLog
from tests.running import run


def test_the_last_lines_are_kept():
    log = logging.getLogger("stowkenfs.test")

    async def main() -> None:
        async with KeptLog().listening() as kept:
            log.warning("first")
            assert kept.text().endswith("WARNING first\n")
            log.warning("x" * 5000)
            assert len(kept.text().splitlines()[-1]) == LINE_CHARACTERS_MAX
            for number in range(LINES_MAX):
                log.warning("line %d\nand more", number)
            lines = kept.text().splitlines()
            assert len(lines) == LINES_MAX
            assert lines[-1] == "and more"
            assert "first" not in kept.text()
        log.warning("afterwards")
        assert "afterwards" not in kept.text()

    run("trio", main)
