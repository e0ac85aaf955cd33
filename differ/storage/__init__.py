"""Bytes at rest: the one seam through which differ creates, syncs, renames and removes files."""

from differ.storage.files import StoredFile, create, ensure_folder, file_hash, remove_file, remove_tree, verify

__all__ = ["StoredFile", "create", "ensure_folder", "file_hash", "remove_file", "remove_tree", "verify"]
