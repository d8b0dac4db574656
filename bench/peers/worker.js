// The echo, for workerd.
export default {
  async fetch(request) {
    const event = await request.json();
    console.log("an event came");
    return Response.json(event);
  },
};
