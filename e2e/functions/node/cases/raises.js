console.log("loading");
throw new RangeError("in init");
