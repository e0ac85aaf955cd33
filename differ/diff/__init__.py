"""Compare the state that was committed with what a scan reads, and decide whether the difference may be committed."""
