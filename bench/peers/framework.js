// The echo, for functions-framework.
exports.handler = (request, response) => {
  console.log("an event came");
  response.json(request.body);
};
