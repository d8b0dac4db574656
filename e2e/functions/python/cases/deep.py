def f():
    raise KeyError("deep")
f()
