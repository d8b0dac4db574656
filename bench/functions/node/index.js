exports.handler = async (event) => {
  console.log("an event came");
  if (event.sleep_ms) await new Promise((done) => setTimeout(done, event.sleep_ms));
  return event;
};
