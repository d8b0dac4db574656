def handler(e, c):
	return 1
        return 2
