// The ceiling's Node.js: events come in and answers leave as frames on standard input, which is a socket.
const fs = require("node:fs");
const net = require("node:net");

const HEAD_BYTES = 4;
const handler = async (event) => event;

let data = Buffer.alloc(0);
const socket = new net.Socket({ fd: 0, readable: true, writable: true });
socket.on("data", async (more) => {
  data = data.length ? Buffer.concat([data, more]) : more;
  while (data.length >= HEAD_BYTES && data.length >= HEAD_BYTES + data.readUInt32LE(0)) {
    const end = HEAD_BYTES + data.readUInt32LE(0);
    const event = JSON.parse(data.toString("utf8", HEAD_BYTES, end));
    data = data.subarray(end);
    const answer = Buffer.from(JSON.stringify(await handler(event)));
    const frame = Buffer.allocUnsafe(HEAD_BYTES + answer.length);
    frame.writeUInt32LE(answer.length, 0);
    answer.copy(frame, HEAD_BYTES);
    fs.writeSync(0, frame);
  }
});
socket.on("end", () => process.exit());
