"""For all tests."""

import signal

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A script that starts the tests in its background has them ignore Ctrl-C, and with them
    # everything that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
