"""What must be refused, and in which words."""

import botocore.exceptions


def refused(code, words, call, **arguments):
    """Gives what the service answered."""
    try:
        call(**arguments)
    except botocore.exceptions.ClientError as error:
        assert error.response["Error"]["Code"] == code, error
        assert words in error.response["Error"]["Message"], error
        return error.response
    raise AssertionError(f"{code} expected")
