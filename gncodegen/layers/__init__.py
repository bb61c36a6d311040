"""The layers a user writes, and the checked, connected network they make."""
