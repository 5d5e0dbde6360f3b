"""The one exception that reaches the user as a sentence instead of a stack trace."""


class UserError(Exception):
    """Something the user can put right: names the file or key at fault and the way out, in one line."""
