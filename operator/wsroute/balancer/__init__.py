"""nginx as a process: the script that runs it, and bringing a version in and verifying it. For agent and standalone."""
