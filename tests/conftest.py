"""For all tests.

``STOWKENFS_EXAMPLES`` says how many examples a property is tried on that says nothing else (30).
"""

import os
import signal

from hypothesis import settings

settings.register_profile("here", max_examples=int(os.environ.get("STOWKENFS_EXAMPLES", "30")))
settings.load_profile("here")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A script that starts the tests in its background has them ignore Ctrl-C, and with them
    # everything that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
