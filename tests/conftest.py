"""What all tests share."""

import signal

# A job in a shell's background starts with Ctrl-C ignored, and so would everything it starts; some tests
# press Ctrl-C.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
