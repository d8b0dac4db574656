print("loading")
raise ValueError("in init")
