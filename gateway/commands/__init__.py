"""The sub-commands of `gateway`, a file each; `gateway/cli.py` lists them."""
