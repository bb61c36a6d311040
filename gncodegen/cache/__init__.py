"""All that lies on disk between processes: bytes in files, with digests, locks, permissions and cleaning.

It knows no Program and no kernel: its users keep their formats, and give names that say what decides the content.
"""
