exports.handler = async (event) => {
  console.log("an event came");
  return event;
};
