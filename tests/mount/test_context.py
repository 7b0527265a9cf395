"""``.stowken/context`` and ``.stowken/spool``: conversations fitted into budgets, in a mount."""

import errno
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import stowkenfs
from tests.context.validators import anthropic_violations, openai_violations
from tests.mount.conftest import MakeMount
from tests.mount.mounted import Mount, listed
from tests.mount.test_control import fails_with

LONG = "The tide tables of the harbour, hour by hour. " * 60


def messages(turns: int = 6) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"role": "system", "content": "You know the tides."},
        {"role": "user", "content": "When is low water?"},
    ]
    for at in range(turns):
        function = {"name": "tables", "arguments": json.dumps({"day": at})}
        call = {"id": f"call_{at}", "type": "function", "function": function}
        found.append({"role": "assistant", "content": None, "tool_calls": [call]})
        found.append({"role": "tool", "tool_call_id": f"call_{at}", "content": f"{at} {LONG}"})
    return [*found, {"role": "assistant", "content": "At seven."}, {"role": "user", "content": "?"}]


def write(path: Path, turns: int = 6) -> list[dict[str, Any]]:
    said = messages(turns)
    path.write_text(json.dumps({"model": "gpt-4o", "messages": said}))
    return said


def spooled(mount: Mount, content: bytes) -> list[Path]:
    pieces = content.decode().split(".stowken/spool/")[1:]
    names = [piece.split("]")[0].split(" ")[0] for piece in pieces]
    return [mount.control / "spool" / name for name in names]


def test_a_conversation_is_fitted(mount: Mount) -> None:
    (mount.path / "agents").mkdir()
    said = write(mount.path / "agents" / "run.json")
    views = [mount.control / "context" / str(budget) / "agents" for budget in (8000, 2000, 500)]
    for sealed in (False, True):
        contents = []
        for view in views:
            path = view / "run.json"
            content = path.read_bytes()
            assert path.stat().st_size == len(content)
            after = json.loads(content)["messages"]
            assert openai_violations(after) == []
            assert after[:1] == said[:1]
            assert after[-2:] == said[-2:]
            contents.append(content)
            plan = (view / "run.json.plan").read_text()
            assert plan.startswith("agents/run.json: OpenAI chat, 16 messages, ")
            told = json.loads((view / "run.json.plan.json").read_text())
            assert told["tokens_after"] <= told["budget_tokens"]
        if not sealed:
            before = contents
            mount.wait_sealed()
    assert contents == before, "counts that are stored are those of the tokenizer"
    assert contents[0] == (mount.path / "agents" / "run.json").read_bytes(), "it fits"
    assert contents[1] != contents[0]
    assert listed(views[0]) == ["run.json"]


def test_what_left_is_there_whole_also_after_a_remount(mount: Mount) -> None:
    said = write(mount.path / "run.json")
    content = (mount.control / "context" / "2000" / "run.json").read_bytes()
    paths = spooled(mount, content)
    assert paths
    wholes = [one["content"].encode() for one in said if one["role"] == "tool"]
    mount.remount()
    for path in paths:
        whole = path.read_bytes()
        assert whole in wholes
        assert path.stat().st_size == len(whole)
    (small,) = spooled(mount, (mount.control / "context" / "100" / "run.json").read_bytes())
    assert json.loads(small.read_bytes()) == said[2:14]
    assert listed(mount.control / "spool") == []
    with fails_with(errno.ENOENT):
        (mount.control / "spool" / "7f-1-0000000000000000").read_bytes()
    with fails_with(errno.ENOENT):
        (mount.control / "spool" / f"{paths[0].name}0").read_bytes()


def test_names_follow_the_file(mount: Mount) -> None:
    said = write(mount.path / "run.json")
    (path, *_) = spooled(mount, (mount.control / "context" / "2000" / "run.json").read_bytes())
    whole = path.read_bytes()
    more = json.dumps({"model": "gpt-4o", "messages": [*said, *messages(1)[2:]]})
    (mount.path / "run.json").write_text(more)
    assert path.read_bytes() == whole
    (mount.path / "run.json").rename(mount.path / "other.json")
    assert path.read_bytes() == whole
    (mount.path / "other.json").write_text("{}")
    time.sleep(1.1)  # what was shown is kept for a second
    with fails_with(errno.ENOENT):
        path.read_bytes()
    (mount.path / "other.json").unlink()
    with fails_with(errno.ENOENT):
        path.read_bytes()


def test_the_view_follows_the_file(mount: Mount) -> None:
    write(mount.path / "run.json")
    view = mount.control / "context" / "2000" / "run.json"
    before = view.read_bytes()
    write(mount.path / "run.json", turns=8)
    time.sleep(1.1)
    assert view.read_bytes() != before
    assert "20 messages" in Path(f"{view}.plan").read_text()


def test_a_budget_that_is_too_small(mount: Mount) -> None:
    write(mount.path / "run.json")
    view = mount.control / "context" / "20" / "run.json"
    with fails_with(errno.EFBIG):
        view.read_bytes()
    with fails_with(errno.EFBIG):
        view.stat()
    log = (mount.control / "log").read_text()
    assert "context/20/run.json: a budget of 20 tokens is too small: " in log
    assert "does not fit: a budget of 20 tokens" in Path(f"{view}.plan").read_text()


def test_what_is_no_conversation(mount: Mount) -> None:
    (mount.path / "noise").write_bytes(os.urandom(5000))
    (mount.path / "empty").touch()
    view = mount.control / "context" / "8000"
    for name in ("noise", "empty", "noise.plan"):
        with fails_with(errno.EINVAL):
            (view / name).read_bytes()
    assert "context/8000/noise: " in (mount.control / "log").read_text()
    for name in ("absent", "absent.plan", "noise.plan.plan"):
        with fails_with(errno.ENOENT):
            (view / name).read_bytes()
    for budget in ("0", "-1", "08", "x", "1e3", "99999999999"):
        with fails_with(errno.ENOENT):
            (mount.control / "context" / budget).stat()


def test_names_that_end_in_plan_are_the_files_first(mount: Mount) -> None:
    write(mount.path / "run")
    write(mount.path / "run.plan", turns=1)
    view = mount.control / "context" / "100000"
    assert (view / "run.plan").read_bytes() == (mount.path / "run.plan").read_bytes()
    assert (view / "run.plan.plan").read_text().startswith("run.plan: ")


def test_a_session_log(mount: Mount) -> None:
    lines = []
    for at in range(40):
        role = ("user", "assistant")[at % 2]
        own = {"parentUuid": f"u{at - 1}" if at else None, "uuid": f"u{at}", "sessionId": "s"}
        lines.append(own | {"type": role, "message": {"role": role, "content": f"{at} {LONG}"}})
    path = mount.path / "session.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    content = (mount.control / "context" / "4000" / "session.jsonl").read_bytes()
    after = [json.loads(line) for line in content.splitlines()]
    assert anthropic_violations([line["message"] for line in after if "message" in line][-2:]) == []
    assert [line["message"] for line in after[-2:]] == [line["message"] for line in lines[-2:]]
    for left in spooled(mount, content):
        assert left.read_bytes() in path.read_bytes() or left.read_text()[:5] in LONG + "0123 The"


@pytest.mark.parametrize("workers", [0, 1])
def test_with_and_without_workers(make_mount: MakeMount, workers: int) -> None:
    mount = make_mount(f"workers={workers}")
    write(mount.path / "run.json", turns=30)
    content = (mount.control / "context" / "3000" / "run.json").read_bytes()
    assert openai_violations(json.loads(content)["messages"]) == []


def test_the_command(make_mount: MakeMount) -> None:
    mount = make_mount("seal_after=0.2")
    (mount.path / "deep").mkdir()
    write(mount.path / "deep" / "run.json")
    view = mount.control / "context" / "2000" / "deep" / "run.json"
    wanted = view.read_text()
    of_mount = stowkenfs("context", mount.path / "deep" / "run.json", "--budget", "2000")
    assert (of_mount.code, of_mount.out) == (0, wanted)
    of_vault = stowkenfs("context", mount.vault / "deep" / "run.json", "--budget", "2000", "--plan")
    assert of_vault.out == Path(f"{view}.plan").read_text(), "its mount was asked"
    for path in (mount.path, mount.vault):
        ended = stowkenfs("context", path / "deep" / "run.json", "--budget", "9")
        assert (ended.code, ended.out) == (1, "")
        assert "a budget of 9 tokens is too small" in ended.err
        ended = stowkenfs("context", path / "deep", "--budget", "9")
        assert ended.code == 1
        ended = stowkenfs("context", path / "absent", "--budget", "9")
        assert ended.code == 1
        assert "there is no file absent" in ended.err
    (mount.path / "noise").write_bytes(b"noise")
    ended = stowkenfs("context", mount.path / "noise", "--budget", "9")
    assert "no line of the file is a message" in ended.err
    mount.unmount()
    of_vault = stowkenfs("context", mount.vault / "deep" / "run.json", "--budget", "2000")
    assert (of_vault.code, of_vault.out) == (0, wanted)
    told = stowkenfs("context", mount.vault / "deep" / "run.json", "--budget", "9", "--json")
    assert json.loads(told.out)["failure"].startswith("a budget of 9 tokens")
    for arguments in (["--budget", "0"], [], ["--budget", "x"]):
        assert stowkenfs("context", mount.vault / "deep", *arguments).code == 2
    assert stowkenfs("context", mount.path / "run.json", "--budget", "9").code == 1
