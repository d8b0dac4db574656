"""The echo, for functions-framework."""

import functions_framework


@functions_framework.http
def handler(request):
    print("an event came")
    return request.get_json(force=True)
