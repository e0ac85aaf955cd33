"""The command `differ`: the only layer that prints. One file for each group of commands, imported when it is used."""
