exports.handler = async (event) => {
  const lines = event.lines ?? 1;
  for (let line = 0; line < lines; line++) console.log("an event came");
  if (event.sleep_ms) await new Promise((done) => setTimeout(done, event.sleep_ms));
  return event;
};
