// The bootstrap of the Node.js runtimes: what runs between the interpreter and a function's handler.
//
// The host executes it as `node bootstrap.cjs`. Where `_LAMP_CONTROL_FD` names a socket it speaks the frames of decision 7, else
// the HTTP Runtime API 2018-06-01. What a function sees follows AWS's own clients, of which there are two: up to Node.js 22 with
// callbacks, an event loop that is waited for, and rejections that become errors; from 24 with promises alone.
//
// Invariants: while a handler runs, nothing here keeps the event loop alive but a streamed response that is not whole, for
// `beforeExit` tells that it has nothing more to do. A log line and a buffered response are in the kernel when the call that wrote them returns. Without a host there is no
// process: the end of the socket is exit.
// Not yet: several invocations at once (`AWS_LAMBDA_MAX_CONCURRENCY`).
'use strict';

// A parked process loads this very file once more, as if it were a function, to have the loader warm.
if (process.mainModule === undefined) {
  exports.handler = async (event) => {
    console.log('%s', event);
    return event;
  };
  return;
}

const fs = require('fs');
const Module = require('module');
const net = require('net');
const path = require('path');
const util = require('util');

const [PARKED, INIT, READY, INIT_ERROR, INVOKE, EVENT, CREDIT, HEAD, RESPONSE, ERROR, NEXT, SHUTDOWN, PREPARE, PREPARED] = Array(14).fill().map((_, at) => at + 1);
const MORE = 1;
const HEAD_BYTES = 12;
const PAYLOAD_BYTES_MAX = 65536;
const CREDIT_BYTES = 262144;
const EMPTY = Buffer.alloc(0);

// Errors, in the words of AWS's clients.

class ImportModuleError extends Error {}
class HandlerNotFound extends Error {}
class MalformedHandlerName extends Error {}
class UserCodeSyntaxError extends Error {}
class MalformedStreamingHandler extends Error {}
class InvalidStreamingOperation extends Error {}
class JSONStringifyError extends Error {}
class CallbackHandlerDeprecated extends Error {}
class PlatformError extends Error {}
class NodeJsExit extends Error {
  constructor() {
    super(
      'The Lambda runtime client detected an unexpected Node.js exit code. This is most commonly caused by a Promise that was ' +
        'never settled. For more information, see https://nodejs.org/docs/latest/api/process.html#exit-codes',
    );
  }
}
class UnhandledPromiseRejection extends Error {
  constructor(reason, promise) {
    super(reason);
    this.reason = reason;
    this.promise = promise;
  }
}
for (const kind of [
  ImportModuleError, HandlerNotFound, MalformedHandlerName, UserCodeSyntaxError, MalformedStreamingHandler,
  InvalidStreamingOperation, JSONStringifyError, CallbackHandlerDeprecated, PlatformError, NodeJsExit, UnhandledPromiseRejection,
]) {
  Object.defineProperty(kind.prototype, 'name', { value: `Runtime.${kind.name}`, writable: true, configurable: true, enumerable: true });
}

const CALLBACK_REMOVED =
  'ERROR: AWS Lambda has removed support for callback-based function handlers starting with Node.js 24. You need to modify this ' +
  'function to use a supported handler signature to use Node.js 24 or later. For more information see ' +
  'https://docs.aws.amazon.com/lambda/latest/dg/nodejs-handler.html.';
const CALLBACK_DEPRECATED =
  'AWS Lambda plans to remove support for callback-based function handlers starting with Node.js 24. You will need to update this ' +
  'function to use an async handler to use Node.js 24 or later. For more information and to provide feedback on this change, see ' +
  'https://github.com/aws/aws-lambda-nodejs-runtime-interface-client/issues/137. To disable this warning, set the ' +
  'AWS_LAMBDA_NODEJS_DISABLE_CALLBACK_WARNING environment variable.';

/** Whether a value reads as an error, made in this realm or another. */
function isErrorLike(value) {
  return util.types.isNativeError(value) || ['name', 'message', 'stack'].every((key) => value && value[key] && typeof value[key] === 'string');
}

/** What the caller gets of an error. */
function toResponse(error) {
  const clean = (text) => text?.replaceAll('\x7F', '%7F');
  try {
    if (isModern ? error instanceof Error : isErrorLike(error)) {
      return { errorType: clean(error.name), errorMessage: clean(error.message), trace: clean(error.stack).split('\n') };
    }
    return { errorType: typeof error, errorMessage: isModern ? String(error) : error.toString(), trace: [] };
  } catch {
    const errorMessage = 'callback called with Error argument, but there was a problem while retrieving one or more of its message, name, and stack';
    return isModern ? { errorType: 'handled', errorMessage, trace: [] } : { errorType: 'handled', errorMessage };
  }
}

/** What the log gets of an error: its own properties too. */
function toFormatted(error) {
  const shown = (_key, value) => {
    if (!(value instanceof Error)) return value;
    const all = Object.assign({ errorType: value.name, errorMessage: value.message, code: value.code }, value);
    if (typeof value.stack === 'string') all.stack = value.stack.split('\n');
    return all;
  };
  try {
    return '\t' + JSON.stringify(error, shown);
  } catch {
    return '\t' + JSON.stringify(toResponse(error));
  }
}

function toJson(value) {
  let text;
  try {
    text = JSON.stringify(value === undefined ? null : value);
  } catch {
    throw isModern ? new JSONStringifyError('Unable to stringify response body') : new Error('Unable to stringify response body');
  }
  if (text === undefined) throw new TypeError('Wrong arguments'); // a function, a symbol
  return text;
}

// The transports. Each has: ready, initError, next, respond, fail, stream.

/** Frames on a connected socket. Writes are made at once where the kernel takes them, so that they survive what follows. */
class Frames {
  constructor(fd, socket) {
    this.fd = fd;
    this.stream = 0;
    this.isReady = false;
    this.pending = 0; // writes that the kernel did not take at once
    this.rest = EMPTY; // the beginning of a frame
    this.parts = []; // payloads of a message that goes on
    this.messages = []; // INIT, INVOKE and EVENT that nobody has asked for yet
    this.taker = null;
    this.credit = 0;
    this.onCredit = null;
    const callback = (count, buffer) => {
      this.take(buffer.subarray(0, count));
      return true;
    };
    this.socket = socket ?? new net.Socket({ fd, readable: true, writable: true, onread: { buffer: Buffer.allocUnsafe(PAYLOAD_BYTES_MAX * 2), callback } });
    for (const event of ['end', 'error', 'close']) this.socket.on(event, () => process.reallyExit(1));
  }

  take(data) {
    if (this.rest.length > 0) data = Buffer.concat([this.rest, data]);
    let at = 0;
    while (data.length - at >= HEAD_BYTES) {
      const length = data.readUInt32LE(at);
      if (data.length - at - HEAD_BYTES < length) break;
      const from = at + HEAD_BYTES;
      const more = data[at + 5] & MORE;
      this.frame(data[at + 4], data.readUInt32LE(at + 8), more, data.subarray(from, from + length));
      at = from + length;
    }
    this.rest = at === data.length ? EMPTY : Buffer.from(data.subarray(at));
  }

  frame(kind, stream, more, payload) {
    if (kind === CREDIT) {
      if (stream === this.stream) {
        this.credit += payload.readUInt32LE(0);
        this.onCredit?.();
      }
    } else if (kind === SHUTDOWN) {
      process.reallyExit(0);
    } else if (kind === PREPARE) {
      this.write(this.message(PREPARED, this.prepared?.collect() ?? EMPTY, 0));
    } else if (more) {
      this.parts.push(Buffer.from(payload));
    } else {
      let text;
      if (this.parts.length === 0) {
        text = payload.toString();
      } else {
        text = Buffer.concat([...this.parts, payload]).toString();
        this.parts = [];
      }
      this.messages.push([kind, stream, text]);
      if (this.taker !== null && this.messages.length >= this.wanted) this.hand();
    }
  }

  hand() {
    const { taker } = this;
    this.taker = null;
    this.socket.unref();
    taker(this.messages.splice(0, this.wanted));
  }

  /** So many messages; the event loop lives while they are waited for. */
  receive(wanted) {
    return new Promise((taker) => {
      this.wanted = wanted;
      this.taker = taker;
      this.socket.ref();
      if (this.messages.length >= wanted) this.hand();
    });
  }

  write(data, written) {
    let sent = 0;
    if (this.pending === 0) {
      try {
        sent = fs.writeSync(this.fd, data);
      } catch (error) {
        if (error.code !== 'EAGAIN') process.reallyExit(1);
      }
      if (sent === data.length) {
        written?.();
        return;
      }
    }
    this.pending += 1;
    this.socket.ref();
    this.socket.write(sent === 0 ? data : data.subarray(sent), () => {
      this.pending -= 1;
      if (this.taker === null && this.onCredit === null) this.socket.unref();
      written?.();
    });
  }

  frameOf(kind, payload = EMPTY, more = false, stream = this.stream) {
    const frame = Buffer.allocUnsafe(HEAD_BYTES + payload.length);
    frame.writeUInt32LE(payload.length, 0);
    frame.writeUInt32LE(kind | (more ? MORE << 8 : 0), 4);
    frame.writeUInt32LE(stream, 8);
    payload.copy(frame, HEAD_BYTES);
    return frame;
  }

  message(kind, payload = EMPTY, stream = this.stream) {
    const frames = [];
    let at = 0;
    do {
      const part = payload.subarray(at, at + PAYLOAD_BYTES_MAX);
      at += part.length;
      frames.push(this.frameOf(kind, part, at < payload.length, stream));
    } while (at < payload.length);
    return frames.length === 1 ? frames[0] : Buffer.concat(frames);
  }

  /** Whether the host has sent something already. */
  isWaiting() {
    const data = Buffer.alloc(PAYLOAD_BYTES_MAX);
    try {
      const count = fs.readSync(this.fd, data);
      if (count === 0) process.reallyExit(1);
      this.take(data.subarray(0, count));
      return true;
    } catch {
      return false;
    }
  }

  async init() {
    if (!this.isWaiting()) await warm();
    this.write(this.frameOf(PARKED));
    const [[, , text]] = await this.receive(1);
    return JSON.parse(text);
  }

  ready() {
    this.isReady = true;
    this.write(this.frameOf(READY, this.prepared?.isRejected ? Buffer.from('compiled') : EMPTY, false, 0));
  }

  initError(error, done) {
    if (this.isReady) return done(); // what fails between invocations is nobody's: the process just ends
    this.write(this.message(INIT_ERROR, Buffer.from(JSON.stringify(error))), done);
  }

  async next() {
    if (this.stream > 0) this.write(this.frameOf(NEXT));
    const [[, stream, told], [, , event]] = await this.receive(2);
    this.stream = stream;
    this.credit = CREDIT_BYTES;
    return [JSON.parse(told), event];
  }

  /** Sends bytes of the response as credit allows, and says when all are on their way. */
  send(payload, isLast, done) {
    const frames = [];
    let at = 0;
    const whole = () => at === payload.length;
    do {
      const part = payload.subarray(at, at + Math.min(this.credit, PAYLOAD_BYTES_MAX));
      if (part.length === 0 && !whole()) break;
      at += part.length;
      this.credit -= part.length;
      frames.push(this.frameOf(RESPONSE, part, !(isLast && whole())));
    } while (!whole());
    const data = frames.length === 1 ? frames[0] : Buffer.concat(frames);
    if (whole()) {
      this.onCredit = null;
      if (this.taker === null && this.pending === 0) this.socket.unref();
      this.write(data, done);
      return;
    }
    if (data.length > 0) this.write(data);
    this.socket.ref();
    this.onCredit = () => {
      this.onCredit = null;
      this.send(payload.subarray(at), isLast, done);
    };
  }

  respond(_id, text, done) {
    this.send(Buffer.from(text), true, done);
  }

  fail(_id, error, _cause, done) {
    if (this.taker !== null) return done();
    this.write(this.message(ERROR, Buffer.from(toJson(error))), done);
  }

  /** A streamed response: what is written goes out as frames, and back-pressure is want of credit. */
  streamed(_id, highWaterMark) {
    const { Writable } = require('stream');
    let contentType = 'application/octet-stream';
    let isOpen = false;
    // As a request of AWS's client would: a response that is not whole keeps the event loop alive, until time is over.
    const unfinished = setInterval(() => {}, 2 ** 30);
    const head = () => {
      if (isOpen) return;
      isOpen = true;
      this.write(this.message(HEAD, Buffer.from(JSON.stringify({ contentType, streaming: true }))));
    };
    const inner = new Writable({
      highWaterMark,
      decodeStrings: true,
      write: (chunk, _encoding, done) => {
        head();
        this.send(chunk, false, done);
      },
      final: (done) => {
        clearInterval(unfinished);
        if (inner.failed) return done();
        head();
        this.send(EMPTY, true, done);
      },
    });
    inner.failed = false;
    inner.contentType = (value) => (contentType = value);
    inner.fail = (error, done) => {
      if (inner.writableFinished) return done(); // the response is whole: too late
      inner.failed = true;
      clearInterval(unfinished);
      this.onCredit = null;
      this.fail(null, error, null, done);
      inner.destroy();
    };
    const finished = new Promise((resolve, reject) => inner.once('finish', resolve).once('error', reject));
    finished.catch(() => {});
    return [inner, finished];
  }
}

/** The HTTP Runtime API, over one kept connection. */
class Http {
  constructor(address) {
    this.http = require('http');
    const [host, port] = address.split(':');
    this.target = { hostname: host, port, agent: new this.http.Agent({ keepAlive: true, maxSockets: 1 }) };
  }

  request(method, place, headers, body, done) {
    const options = { ...this.target, method, path: '/2018-06-01/runtime/' + place, headers };
    const request = this.http.request(options, (response) => {
      const parts = [];
      response.on('data', (part) => parts.push(part));
      response.on('end', () => done?.(response, Buffer.concat(parts).toString()));
    });
    request.on('error', (error) => {
      throw error;
    });
    if (body !== undefined) request.end(body);
    return request;
  }

  post(place, body, headers, done) {
    this.request('POST', place, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body), ...headers }, body, done);
  }

  ready() {}

  initError(error, done) {
    this.post('init/error', JSON.stringify(error), { 'Lambda-Runtime-Function-Error-Type': error.errorType }, done);
  }

  next() {
    return new Promise((resolve) => {
      this.request('GET', 'invocation/next', {}, '', ({ headers }, body) => {
        const told = {
          requestId: headers['lambda-runtime-aws-request-id'],
          deadlineMs: Number(headers['lambda-runtime-deadline-ms']),
          invokedFunctionArn: headers['lambda-runtime-invoked-function-arn'],
          traceId: headers['lambda-runtime-trace-id'],
          clientContext: headers['lambda-runtime-client-context'],
          cognitoIdentity: headers['lambda-runtime-cognito-identity'],
          tenantId: headers['lambda-runtime-aws-tenant-id'],
        };
        resolve([told, body]);
      });
    });
  }

  respond(id, text, done) {
    this.post(`invocation/${encodeURIComponent(id)}/response`, text, {}, done);
  }

  fail(id, error, cause, done) {
    const headers = { 'Lambda-Runtime-Function-Error-Type': error.errorType };
    const fault = xrayCause(cause);
    if (fault.length < 1048576) headers['Lambda-Runtime-Function-XRay-Error-Cause'] = fault;
    this.post(`invocation/${encodeURIComponent(id)}/error`, toJson(error), headers, done);
  }

  streamed(id) {
    let settle;
    const finished = new Promise((resolve) => (settle = resolve));
    const headers = {
      'Lambda-Runtime-Function-Response-Mode': 'streaming',
      Trailer: ['Lambda-Runtime-Function-Error-Type', 'Lambda-Runtime-Function-Error-Body'],
      'Content-Type': 'application/octet-stream',
      'Transfer-Encoding': 'chunked',
    };
    const inner = this.request('POST', `invocation/${encodeURIComponent(id)}/response`, headers, undefined, settle);
    inner.contentType = (value) => inner.setHeader('Content-Type', value);
    inner.fail = (error, done) => {
      const body = Buffer.from(JSON.stringify(error)).toString('base64');
      inner.addTrailers({ 'Lambda-Runtime-Function-Error-Type': error.errorType, 'Lambda-Runtime-Function-Error-Body': body });
      finished.then(done);
      inner.end();
    };
    return [inner, finished];
  }
}

/** An error as X-Ray takes it, ASCII alone, for it travels in a header. */
function xrayCause(error) {
  try {
    const stack = (error.stack ?? '').split('\n').slice(1).map((line) => {
      const [, label, place] = /^\s*at (?:(.*) \()?([^()]*)\)?$/.exec(line) ?? [, , line.trim()];
      const [file, row] = place.split(':');
      return { path: file, line: parseInt(row), label: label || 'anonymous' };
    });
    const exceptions = [{ type: error.name, message: error.message, stack }];
    const text = JSON.stringify({ working_directory: process.cwd(), exceptions, paths: [...new Set(stack.map((entry) => entry.path))] });
    return text.replace(/[^\x20-\x7e]/g, (char) => '\\u' + char.charCodeAt(0).toString(16).padStart(4, '0'));
  } catch {
    return '';
  }
}

// Logs: `console` writes events with level, time and request.

const LEVELS = {
  TRACE: { name: 'TRACE', priority: 1, mask: 0x04 },
  DEBUG: { name: 'DEBUG', priority: 2, mask: 0x08 },
  INFO: { name: 'INFO', priority: 3, mask: 0x0c },
  WARN: { name: 'WARN', priority: 4, mask: 0x10 },
  ERROR: { name: 'ERROR', priority: 5, mask: 0x14 },
  FATAL: { name: 'FATAL', priority: 6, mask: 0x18 },
};
const REQUEST_ID = Symbol.for('aws.lambda.runtime.requestId');
const TENANT_ID = Symbol.for('aws.lambda.runtime.tenantId');

/** The invocation that a log event belongs to. */
const current = {
  get requestId() {
    return isModern ? invokeStore.getRequestId() : global[REQUEST_ID];
  },
  get tenantId() {
    return isModern ? invokeStore.getTenantId() : global[TENANT_ID];
  },
};

function jsonEvent(time, level, message, params) {
  const event = { timestamp: time, level: level.name, requestId: current.requestId };
  const { tenantId } = current;
  if (tenantId !== undefined && tenantId !== null && tenantId !== '') event.tenantId = tenantId;
  const described = (error) => ({
    errorType: error?.constructor?.name ?? 'UnknownError',
    errorMessage: error.message,
    stackTrace: typeof error.stack === 'string' ? error.stack.split('\n') : error.stack,
  });
  if (params.length === 0) {
    event.message = message;
    try {
      return JSON.stringify(event, (_key, value) => (value instanceof Error ? Object.assign(described(value), value) : value));
    } catch {
      event.message = util.format(message);
      return JSON.stringify(event);
    }
  }
  event.message = util.format(message, ...params);
  const error = (isModern ? params : [message, ...params]).find((param) => param instanceof Error);
  if (error !== undefined) {
    Object.assign(event, described(error));
    if (typeof error.stack !== 'string') event.stackTrace = [];
  }
  return JSON.stringify(event);
}

/** A mark on standard output says where a frame of the log pipe belongs among what is printed. */
const MARK_FD = 61;
const MARK = Buffer.from('\xff\xfemark\xff\n', 'latin1');
const MARKED_FRAME = 0x00010000;

/** Which pipe it is, or null. */
function pipeOf(fd) {
  try {
    const stat = fs.fstatSync(fd);
    return stat.isFIFO() ? stat.ino : null;
  } catch {
    return null;
  }
}

class Logs {
  constructor() {
    const fd = parseInt(process.env._LAMBDA_TELEMETRY_LOG_FD);
    delete process.env._LAMBDA_TELEMETRY_LOG_FD;
    this.fd = fd >= 0 ? fd : null;
    this.marks = this.fd === null ? null : pipeOf(MARK_FD);
    this.isJson = process.env.AWS_LAMBDA_LOG_FORMAT?.toUpperCase() === 'JSON';
    const least = LEVELS[process.env.AWS_LAMBDA_LOG_LEVEL?.toUpperCase()] ?? LEVELS.TRACE;
    const silent = () => {};
    for (const level of Object.values(LEVELS)) {
      const isShown = level.priority >= least.priority || level === LEVELS.FATAL;
      console[level.name.toLowerCase()] = isShown ? (message, ...params) => this.log(level, message, params) : silent;
    }
    console.log = console.info;
  }

  log(level, message, params) {
    const now = new Date();
    const time = now.toISOString();
    const text = this.isJson
      ? jsonEvent(time, level, message, params)
      : `${time}\t${current.requestId}\t${level.name}\t${util.format(message, ...params)}`;
    if (this.fd === null) {
      process.stdout.write(text.replace(/\n/g, '\r') + '\n');
      return;
    }
    const body = Buffer.from(this.isJson ? text : text + '\n');
    const frame = Buffer.allocUnsafe(16 + body.length);
    // The function may have closed it, and given its number to a file.
    if (this.marks !== null && pipeOf(MARK_FD) !== this.marks) this.marks = null;
    const marked = this.marks === null ? 0 : MARKED_FRAME;
    frame.writeUInt32BE(((this.isJson ? 0xa55a0002 : 0xa55a0003) | level.mask | marked) >>> 0, 0);
    frame.writeUInt32BE(body.length, 4);
    frame.writeBigUInt64BE(BigInt(now.valueOf()) * 1000n, 8);
    body.copy(frame, 16);
    writeWhole(this.fd, frame);
    if (marked === 0) return;
    try {
      writeWhole(MARK_FD, MARK);
    } catch {
      this.marks = null;
    }
  }

  /** An error's own event. */
  error(title, error) {
    const known = error instanceof Error ? error : new Error(isModern ? String(error) : error);
    if (this.isJson) console.error(known);
    else console.error(title, toFormatted(known));
  }
}

function writeWhole(fd, data) {
  for (let sent = 0; sent < data.length; ) {
    try {
      sent += fs.writeSync(fd, data, sent);
    } catch (error) {
      if (error.code !== 'EAGAIN') throw error;
    }
  }
}

/** What AWS's runtime from Node.js 24 keeps of the current invocation, shared with libraries through `awslambda`. */
class InvokeStoreSingle {
  static PROTECTED_KEYS = Object.fromEntries(
    ['REQUEST_ID', 'X_RAY_TRACE_ID', 'TENANT_ID', 'TRACEPARENT', 'TRACESTATE', 'BAGGAGE'].map((name) => [name, Symbol.for('_AWS_LAMBDA_' + name)]),
  );
  isProtectedKey(key) {
    return Object.values(InvokeStoreSingle.PROTECTED_KEYS).includes(key);
  }
  getRequestId() {
    return this.get(InvokeStoreSingle.PROTECTED_KEYS.REQUEST_ID) ?? '-';
  }
  getXRayTraceId() {
    return this.get(InvokeStoreSingle.PROTECTED_KEYS.X_RAY_TRACE_ID);
  }
  getTenantId() {
    return this.get(InvokeStoreSingle.PROTECTED_KEYS.TENANT_ID);
  }
  getTraceparent() {
    return this.get(InvokeStoreSingle.PROTECTED_KEYS.TRACEPARENT);
  }
  getTracestate() {
    return this.get(InvokeStoreSingle.PROTECTED_KEYS.TRACESTATE);
  }
  getBaggage() {
    return this.get(InvokeStoreSingle.PROTECTED_KEYS.BAGGAGE);
  }
  getContext() {
    return this.currentContext;
  }
  hasContext() {
    return this.currentContext !== undefined;
  }
  get(key) {
    return this.currentContext?.[key];
  }
  set(key, value) {
    if (this.isProtectedKey(key)) throw new Error(`Cannot modify protected Lambda context field: ${String(key)}`);
    this.currentContext ??= {};
    this.currentContext[key] = value;
  }
  run(context, fn) {
    this.currentContext = context;
    return fn();
  }
}

// What was compiled before.

const PREPARED_BYTES_MAX = 33554432;
const INDEX_BYTES_MAX = 8388608;

/** V8's code cache of the CommonJS modules that an instance of this very version has loaded: they need not be compiled anew, and the
 * functions that run while they load not at all. V8 rejects what another build or other flags have made.
 *
 * A module's own text decides, not its name: what is compiled is often not what is in the file. Everything but the compilation is
 * done by the loader's own method, and stack traces show that alone. The file: the length of an index (4 bytes), the index in JSON
 * (`{path: [offset, length, SHA-1 of the text]}`), the data. */
class Prepared {
  constructor(file, isKept) {
    this.file = file;
    this.kept = isKept ? new Map() : null;
    this.index = {};
    this.isRejected = false; // what there is of compiled code is of no use
    this.vm = require('vm');
    // Before, `import()` in such a script could not be resolved as the loader does. Up to 20 it cannot in one from a cache.
    this.importer = this.vm.constants?.USE_MAIN_CONTEXT_DEFAULT_LOADER;
    this.isWary = parseInt(process.versions.node) < 22;
    if (this.importer === undefined) return;
    try {
      if (file !== undefined) this.open();
      this.hook();
    } catch {
      this.isRejected = file !== undefined; // without it everything is compiled
    }
  }

  open() {
    const head = Buffer.alloc(4);
    const fd = fs.openSync(this.file, 'r');
    try {
      this.size = fs.fstatSync(fd).size;
      fs.readSync(fd, head);
      const length = head.readUInt32LE(0);
      if (length > Math.min(INDEX_BYTES_MAX, this.size)) throw new RangeError('an index that is longer than its file');
      const text = Buffer.alloc(length);
      fs.readSync(fd, text);
      const index = JSON.parse(text);
      this.start = 4 + text.length;
      this.index = index;
    } finally {
      fs.closeSync(fd);
    }
  }

  data([offset, length]) {
    if (!(offset >= 0 && length >= 0 && this.start + offset + length <= this.size)) return undefined;
    const data = Buffer.allocUnsafe(length);
    const fd = fs.openSync(this.file, 'r');
    try {
      return fs.readSync(fd, data, 0, length, this.start + offset) === length ? data : undefined;
    } finally {
      fs.closeSync(fd);
    }
  }

  /** Whether a module may be one of which something is known, or is to be. */
  takes(filename) {
    return typeof filename === 'string' && !process.sourceMapsEnabled && (this.kept !== null || this.index[filename] !== undefined);
  }

  /** The function around a module's text, compiled from what is known of it; else nothing. */
  compiled(content, filename, format) {
    if (!this.takes(filename) || (format !== undefined && format !== 'commonjs')) return undefined;
    try {
      const known = this.index[filename];
      const digest = require('crypto').createHash('sha1').update(content).digest('base64');
      const cachedData = known !== undefined && known[2] === digest ? this.data(known) : undefined;
      if (cachedData === undefined && this.kept === null) return undefined;
      const text = `(function (exports, require, module, __filename, __dirname) {\n${content.replace(/^#!/, '//')}\n})`;
      const options = { filename, lineOffset: -1, cachedData, importModuleDynamically: this.importer };
      const script = new this.vm.Script(text, options);
      if (script.cachedDataRejected) this.isRejected = true;
      if (this.kept?.has(filename) === false && !(this.isWary && /\bimport\s*[(/]/.test(content))) this.kept.set(filename, [script, digest]);
      return script.runInThisContext();
    } catch {
      return undefined; // an ES module, a mistake: the loader knows what to do
    }
  }

  /** Takes the place of `Module.prototype._compile` for the modules that it takes, in stack traces too. */
  hook() {
    const { make, isOwn } = Prepared.place();
    const original = Module.prototype._compile;
    const leave = (loader, module, given) => {
      Error.stackTraceLimit += 2;
      try {
        return Reflect.apply(loader, module, given);
      } catch (error) {
        // A mistake in a module is shown as if nothing of ours had looked at it.
        const lines = error?.stack?.split?.('\n') ?? [];
        const at = lines.findIndex(isOwn);
        if (at >= 0) error.stack = lines.filter((_, number) => number !== at && number !== at + 1).join('\n');
        throw error;
      } finally {
        Error.stackTraceLimit -= 2;
      }
    };
    const ours = make(Reflect.apply, original, this.compiled.bind(this), leave);
    Object.defineProperty(original, 'name', { value: '_compile' }); // traces take it from the property, which is none any more
    const prepared = this;
    const set = function (value) {
      Object.defineProperty(this, '_compile', { value, writable: true, enumerable: true, configurable: true });
    };
    const get = function () {
      return prepared.takes(this.filename) ? ours : original;
    };
    Object.defineProperty(Module.prototype, '_compile', { get, set, enumerable: true, configurable: true });
    this.unhook = () => (Module.prototype._compile = original);
  }

  /** Where the loader's own method runs a module, for traces: found once, while there is time. */
  static place() {
    if (Prepared.found !== undefined) return Prepared.found;
    const probe = Module.prototype._compile.call(new Module(__filename), 'return new Error().stack', __filename);
    const [, place, line, column] = /at Module\._compile \((node:internal[^:]*):(\d+):(\d+)\)/.exec(probe);
    const code = '(apply, original, compiled, leave) => function _compile(content, filename, format) { const code = compiled(content, filename, format); ' +
      "if (code === undefined) return leave(original, this, arguments); const given = apply(original, this, ['return arguments', filename, 'commonjs']); return ";
    const options = { filename: place, lineOffset: line - 1, columnOffset: column - 1 - code.length };
    const make = new (require('vm').Script)(code + 'apply(code, given[0], given); }', options).runInThisContext();
    Prepared.found = { make, isOwn: (text) => text.includes(__filename) || text.includes(`${place}:${line}:-`) };
    return Prepared.found;
  }

  /** What the next instances of this version get. */
  collect() {
    const index = {};
    const parts = [];
    let size = 0;
    for (const [filename, [script, digest]] of this.kept ?? []) {
      const data = script.createCachedData();
      if (size + data.length > PREPARED_BYTES_MAX) continue;
      index[filename] = [size, data.length, digest];
      parts.push(data);
      size += data.length;
    }
    this.kept?.clear();
    const text = Buffer.from(JSON.stringify(index));
    const head = Buffer.alloc(4);
    head.writeUInt32LE(text.length);
    return Buffer.concat([head, text, ...parts]);
  }
}

// Loading.

const HANDLER_STREAMING = Symbol.for('aws.lambda.runtime.handler.streaming');
const HANDLER_HIGHWATERMARK = Symbol.for('aws.lambda.runtime.handler.streaming.highWaterMark');

class HttpResponseStream {
  /** Puts status, headers and cookies before the body, eight zero bytes between. */
  static from(underlyingStream, prelude) {
    underlyingStream.setContentType('application/vnd.awslambda.http-integration-response');
    const text = JSON.stringify(prelude);
    underlyingStream._onBeforeFirstWrite = (write) => {
      write(text);
      write(new Uint8Array(8));
    };
    return underlyingStream;
  }
}

function setUpGlobals() {
  if (['1', 'true'].includes(process.env.AWS_LAMBDA_NODEJS_NO_GLOBAL_AWSLAMBDA)) return;
  const streamifyResponse = (handler, options) => {
    handler[HANDLER_STREAMING] = 'response';
    if (typeof options?.highWaterMark === 'number') handler[HANDLER_HIGHWATERMARK] = parseInt(options.highWaterMark);
    return handler;
  };
  globalThis.awslambda = { ...globalThis.awslambda, streamifyResponse, HttpResponseStream };
  if (isModern) globalThis.awslambda.InvokeStore = invokeStore;
}

/** Whether the package.json that governs a folder says `"type": "module"`. */
function isModuleFolder(folder) {
  for (;;) {
    if (folder.endsWith('/node_modules')) return false;
    const file = path.join(folder, 'package.json');
    if (fs.existsSync(file)) {
      try {
        return JSON.parse(fs.readFileSync(file)).type === 'module';
      } catch (error) {
        console.warn(`${file} cannot be read, it will be ignored for ES module detection purposes.`, error);
        return false;
      }
    }
    if (folder === '/') return false;
    folder = path.dirname(folder);
  }
}

/** The function's module, found as AWS's client of its age finds it. */
async function loadModule(require, root, folder, name) {
  const file = path.resolve(root, folder, name);
  if (isModern) {
    for (const extension of ['', '.js', '.mjs', '.cjs']) {
      if (fs.existsSync(file + extension)) return import(file + extension);
    }
    return require(require.resolve(name, { paths: [root, path.join(root, folder)] }));
  }
  if (fs.existsSync(file)) return require(file);
  const isModule = fs.existsSync(file + '.js') && isModuleFolder(path.dirname(file));
  if (fs.existsSync(file + '.js')) {
    const loaded = isModule ? await import(file + '.js') : require(file + '.js');
    if (loaded) return loaded;
  }
  if (fs.existsSync(file + '.mjs')) return import(file + '.mjs');
  if (fs.existsSync(file + '.cjs')) return require(file + '.cjs');
  return require(require.resolve(name, { paths: [root, folder] }));
}

function find(object, names) {
  return names.split('.').reduce((nested, name) => (isModern && typeof nested !== 'object' ? undefined : nested && nested[name]), object);
}

async function loadHandler(root, handler) {
  if (handler.includes('..')) {
    throw new MalformedHandlerName(
      `'${handler}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`,
    );
  }
  const base = path.basename(handler);
  const folder = handler.substring(0, handler.indexOf(base));
  const [, name, names] = /^([^.]*)\.(.*)$/.exec(base) ?? [];
  if (name === undefined) throw new MalformedHandlerName('Bad handler');
  // The client's own file on AWS: what a function sees as its parent.
  const require = Module.createRequire('/var/runtime/index.mjs');
  let loaded;
  try {
    loaded = await loadModule(require, root, folder, name);
  } catch (error) {
    if (error instanceof SyntaxError) {
      const syntax = new UserCodeSyntaxError(error);
      if (isModern) syntax.stack = error.stack;
      throw syntax;
    }
    throw error?.code === 'MODULE_NOT_FOUND' ? new ImportModuleError(error) : error;
  }
  let found = find(loaded, names);
  if (isModern && !found && typeof loaded === 'object' && loaded !== null && 'default' in loaded) found = find(loaded.default, names);
  if (!found) throw new HandlerNotFound(`${handler} is undefined or not exported`);
  if (typeof found !== 'function') throw new HandlerNotFound(`${handler} is not a function`);
  return found;
}

function describe(handler) {
  const streaming = handler[HANDLER_STREAMING];
  if (streaming && streaming !== 'response') throw new MalformedStreamingHandler('Only response streaming is supported.');
  const highWaterMark = parseInt(handler[HANDLER_HIGHWATERMARK]);
  const about = {
    isStreaming: Boolean(streaming),
    highWaterMark: highWaterMark > 0 ? highWaterMark : undefined,
    isAsync: handler.constructor?.name === 'AsyncFunction',
  };
  if (isModern && handler.length >= 3 && !about.isStreaming) throw new CallbackHandlerDeprecated(CALLBACK_REMOVED);
  const isSilent = process.env.AWS_LAMBDA_NODEJS_DISABLE_CALLBACK_WARNING !== undefined;
  if (!isModern && !isSilent && handler.length === 3 && !about.isAsync && !about.isStreaming) console.warn(CALLBACK_DEPRECATED);
  return about;
}

// Invocations.

const STREAM_METHODS = [
  'cork', 'destroy', 'end', 'uncork', 'write', 'addListener', 'emit', 'eventNames', 'getMaxListeners', 'listenerCount', 'listeners',
  'off', 'on', 'once', 'prependListener', 'prependOnceListener', 'rawListeners', 'removeAllListeners', 'removeListener', 'setMaxListeners',
];
const STREAM_PROPERTIES = [
  'destroyed', 'writable', 'writableFinished', 'writableObjectMode', 'writableEnded', 'writableNeedDrain', 'writableHighWaterMark',
  'writableCorked', 'writableLength',
];

/** The response stream that a handler gets: the writable half of a transport's stream, and nothing else of it. */
function responseStream(inner) {
  let isFresh = true;
  const stream = { _onBeforeFirstWrite: undefined };
  for (const name of STREAM_METHODS) stream[name] = inner[name].bind(inner);
  for (const name of STREAM_PROPERTIES) {
    Object.defineProperty(stream, name, { get: () => inner[name], set: (value) => (inner[name] = value), enumerable: false });
  }
  stream.setContentType = (type) => {
    if (!isFresh) throw new InvalidStreamingOperation('Cannot set content-type, too late.');
    inner.contentType(type);
  };
  stream.write = (chunk, encoding, callback) => {
    const isBytes = typeof chunk === 'string' || Buffer.isBuffer(chunk) || (isModern ? chunk instanceof Uint8Array : chunk?.constructor === Uint8Array);
    const data = isBytes ? chunk : JSON.stringify(chunk);
    if (isFresh && typeof stream._onBeforeFirstWrite === 'function') stream._onBeforeFirstWrite((part) => inner.write(part));
    isFresh = false;
    return inner.write(data, encoding, callback);
  };
  return stream;
}

function isPromise(value) {
  return Boolean(value) && typeof value.then === 'function';
}

function parsed(text, name) {
  if (text === undefined || (isModern && !text)) return undefined;
  if (typeof text !== 'string') return text;
  try {
    return JSON.parse(text);
  } catch (error) {
    if (!isModern) throw new Error(`Cannot parse ${name[0]} as json: ${error.toString()}`);
    throw new PlatformError(`Failed to parse ${name[1]} as JSON: ${error.message}`);
  }
}

/** Adds what a handler learns of its invocation, and makes it the current one. */
function contextOf(told, context) {
  const { env } = process;
  if (told.traceId) env._X_AMZN_TRACE_ID = told.traceId;
  else delete env._X_AMZN_TRACE_ID;
  const fromEnvironment = {
    functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
    functionName: env.AWS_LAMBDA_FUNCTION_NAME,
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
  };
  const deadline = told.deadlineMs;
  const fromRequest = {
    clientContext: parsed(told.clientContext, ['ClientContext', 'lambda-runtime-client-context']),
    identity: parsed(told.cognitoIdentity, ['CognitoIdentity', 'lambda-runtime-cognito-identity']),
    invokedFunctionArn: told.invokedFunctionArn,
    awsRequestId: told.requestId,
    tenantId: told.tenantId,
    ...(isModern && { xRayTraceId: told.traceId }),
    getRemainingTimeInMillis: function () {
      return deadline - Date.now();
    },
  };
  return isModern ? Object.assign(context, fromRequest, fromEnvironment) : Object.assign(context, fromEnvironment, fromRequest);
}

const BEFORE_EXIT = Symbol.for('aws.lambda.beforeExit');

/** The loop up to Node.js 22: what ends an invocation is a callback, a promise, or an event loop that ran dry. */
class Runtime {
  constructor(transport, handler, about, failures) {
    this.transport = transport;
    this.handler = handler;
    this.about = about;
    this.failures = failures;
  }

  scheduleIteration() {
    setImmediate(() => {
      const once = this.about.isStreaming ? this.handleOnceStreaming() : this.handleOnceNonStreaming();
      once.catch((error) => {
        console.log(`Unexpected Top Level Error: ${error.toString()}`);
        this.failures.uncaughtException(error);
      });
    });
  }

  async next() {
    const [told, event] = await this.transport.next();
    global[REQUEST_ID] = told.requestId;
    global[TENANT_ID] = told.tenantId;
    const fail = (status) => (error) => this.transport.fail(told.requestId, toResponse(error), error, () => process.exit(status));
    this.failures.uncaughtException = fail(129);
    this.failures.unhandledRejection = fail(128);
    return [told, event];
  }

  async handleOnceNonStreaming() {
    const [told, event] = await this.next();
    const completion = new Completion(this, told.requestId);
    try {
      global[BEFORE_EXIT] = () => completion.abandoned();
      const result = this.handler(JSON.parse(event), contextOf(told, completion.context), completion.callback);
      if (isPromise(result)) result.then(completion.context.succeed, completion.context.fail).catch(completion.context.fail);
    } catch (error) {
      completion.callback(error);
    }
  }

  async handleOnceStreaming() {
    const [told, event] = await this.next();
    const [inner, finished] = this.transport.streamed(told.requestId, this.about.highWaterMark);
    const stream = responseStream(inner);
    let waits = true;
    const context = {
      get callbackWaitsForEmptyEventLoop() {
        return waits;
      },
      set callbackWaitsForEmptyEventLoop(value) {
        waits = value;
      },
    };
    const proceed = () => {
      global[BEFORE_EXIT] = () => {};
      if (waits) global[BEFORE_EXIT] = () => setImmediate(() => this.scheduleIteration());
      else this.scheduleIteration();
    };
    const fail = (error) => {
      logs.error('Invoke Error', error);
      inner.fail(toResponse(error), proceed);
    };
    try {
      global[BEFORE_EXIT] = () => this.scheduleIteration();
      const result = this.handler(JSON.parse(event), stream, contextOf(told, context));
      if (!isPromise(result)) return fail('Streaming does not support non-async handlers.');
      if (typeof (await result) !== 'undefined') console.warn('Streaming handlers ignore return values.');
      await finished;
      if (!inner.writableFinished) return fail('Response stream is not finished.');
      proceed();
    } catch (error) {
      fail(error);
    }
  }
}

/** How one invocation ends: the first of callback, `context.done` and its kin, or the promise decides. */
class Completion {
  constructor(runtime, id) {
    this.runtime = runtime;
    this.id = id;
    this.isReported = false;
    let waits = true;
    const callback = (error, result) => {
      global[BEFORE_EXIT] = () => {};
      if (error !== undefined && error !== null) this.fail(error);
      else if (!waits) this.complete(result);
      else global[BEFORE_EXIT] = () => setImmediate(() => this.complete(result));
    };
    const done = (error, result) => {
      global[BEFORE_EXIT] = () => {};
      if (error !== undefined && error !== null) this.fail(error);
      else this.complete(result);
    };
    let isFinished = false;
    const once = (end) => (...given) => {
      if (isFinished) return;
      end(...given);
      isFinished = true;
    };
    this.callback = once(callback);
    this.context = {
      get callbackWaitsForEmptyEventLoop() {
        return waits;
      },
      set callbackWaitsForEmptyEventLoop(value) {
        waits = value;
      },
      succeed: once((result) => done(null, result)),
      fail: once((error) => done(error ?? 'handled', null)),
      done: once(done),
    };
  }

  fail(error) {
    logs.error('Invoke Error', error);
    this.runtime.transport.fail(this.id, toResponse(error), error, () => this.runtime.scheduleIteration());
  }

  complete(result) {
    if (this.isReported) {
      console.error('Invocation has already been reported as done. Cannot call complete more than once per invocation.');
      return;
    }
    this.isReported = true;
    this.runtime.transport.respond(this.id, toJson(result), () => this.runtime.scheduleIteration());
  }

  /** The event loop ran dry before the handler was done. */
  abandoned() {
    this.isReported = true;
    if (!this.runtime.about.isAsync) {
      this.runtime.transport.respond(this.id, 'null', () => this.runtime.scheduleIteration());
      return;
    }
    this.fail(new NodeJsExit());
  }
}

/** The loop from Node.js 24: a handler is a promise. What nobody catches ends the process, as Node.js has it. */
class ModernRuntime {
  constructor(transport, handler, about) {
    this.transport = transport;
    this.handler = handler;
    this.about = about;
  }

  async start() {
    const keys = InvokeStoreSingle.PROTECTED_KEYS;
    for (;;) {
      const [told, event] = await this.transport.next();
      const context = contextOf(told, {});
      const given = JSON.parse(event);
      const kept = { [keys.REQUEST_ID]: told.requestId, [keys.X_RAY_TRACE_ID]: told.traceId, [keys.TENANT_ID]: told.tenantId };
      await invokeStore.run(kept, () => (this.about.isStreaming ? this.stream(given, context) : this.processInvoke(given, context)));
    }
  }

  async processInvoke(event, context) {
    try {
      const result = await this.handler(event, context);
      await turn();
      const text = toJson(result);
      await new Promise((done) => this.transport.respond(context.awsRequestId, text, done));
    } catch (error) {
      await turn();
      logs.error('Invoke Error', error);
      await new Promise((done) => this.transport.fail(context.awsRequestId, toResponse(error), error, done));
    }
  }

  async stream(event, context) {
    const [inner, finished] = this.transport.streamed(context.awsRequestId, this.about.highWaterMark);
    try {
      const result = this.handler(event, responseStream(inner), context);
      if (!isPromise(result)) throw new Error('Streaming does not support non-async handlers.');
      if (typeof (await result) !== 'undefined') console.warn('Streaming handlers ignore return values.');
      await finished;
      if (!inner.writableFinished) throw new Error('Response stream is not finished.');
    } catch (error) {
      await turn();
      logs.error('Invoke Error', error);
      await new Promise((done) => inner.fail(toResponse(error), done));
    }
  }
}

function turn() {
  return new Promise((resolve) => setImmediate(resolve));
}

// Start.

let isModern = false;
let invokeStore = null;
let logs = null;

/** Makes the function's environment the process's own. */
function takeEnvironment(variables) {
  const { env } = process;
  for (const name of Object.keys(env)) if (!(name in variables)) delete env[name];
  for (const name of Object.keys(variables)) if (env[name] !== variables[name]) env[name] = variables[name];
}

/** The runtime's version, which may not be the interpreter's. */
function major() {
  return parseInt(/^AWS_Lambda_nodejs(\d+)\.x$/.exec(process.env.AWS_EXECUTION_ENV ?? '')?.[1] ?? process.versions.node);
}

/** What AWS's SDK and most functions use: each is loaded but once in a process. */
const USUAL = ['http', 'https', 'http2', 'crypto', 'stream', 'stream/web', 'zlib', 'async_hooks', 'os', 'fs/promises', 'assert', 'vm'];

/** What a parked process has time for: what the first function would wait for, down to a whole invocation of a function of ours. */
async function warm() {
  for (const name of USUAL) require(name);
  takeEnvironment({ ...process.env, TZ: ':UTC' });
  isModern = major() >= 24;
  const own = { ...console };
  const log = process.env._LAMBDA_TELEMETRY_LOG_FD;
  const fd = fs.openSync('/dev/null', 'r+');
  process.env._LAMBDA_TELEMETRY_LOG_FD = String(fd);
  if (isModern) invokeStore = new InvokeStoreSingle();
  logs = new Logs();
  logs.marks = null; // the host sees no frame of the rehearsal
  const prepared = new Prepared(undefined, true);
  const handler = await loadHandler(path.dirname(__filename), path.basename(__filename, '.cjs') + '.handler');
  prepared.collect();
  prepared.unhook?.();
  const frames = new Rehearsal(fd);
  const over = frames.play();
  if (isModern) new ModernRuntime(frames, handler, describe(handler)).start();
  else new Runtime(frames, handler, describe(handler), {}).scheduleIteration();
  await over;
  fs.closeSync(fd);
  for (const name of [REQUEST_ID, TENANT_ID, BEFORE_EXIT]) delete global[name];
  Object.assign(console, own);
  if (log !== undefined) process.env._LAMBDA_TELEMETRY_LOG_FD = log;
  invokeStore = logs = null;
  delete require.cache[__filename];
}

/** A host that asks once. */
class Rehearsal extends Frames {
  constructor(fd) {
    super(fd, { ref() {}, unref() {}, on() {} });
  }

  play() {
    const told = { requestId: '', deadlineMs: 0, invokedFunctionArn: '' };
    this.take(Buffer.concat([this.frameOf(INVOKE, Buffer.from(JSON.stringify(told)), false, 1), this.frameOf(EVENT, Buffer.from('{"a":[1]}'), false, 1)]));
    return new Promise((over) => (this.over = over));
  }

  async next() {
    const given = this.stream === 0 ? super.next() : new Promise(this.over);
    return given;
  }
}

/** The transport, with the function's environment taken over. */
async function connect() {
  const { _LAMP_CONTROL_FD: fd, _LAMBDA_TELEMETRY_LOG_FD: logFd, AWS_LAMBDA_RUNTIME_API: own, NODE_PATH: nodePath } = process.env;
  delete process.env._LAMP_CONTROL_FD;
  if (fd === undefined) return new Http(own);
  const frames = new Frames(parseInt(fd));
  const { env: variables, prepared, prepare } = await frames.init();
  takeEnvironment(variables);
  if (prepared !== undefined || prepare) frames.prepared = new Prepared(prepared, prepare);
  if (logFd !== undefined) process.env._LAMBDA_TELEMETRY_LOG_FD ??= logFd;
  if (process.env.NODE_PATH !== nodePath) Module._initPaths();
  const named = variables.AWS_LAMBDA_RUNTIME_API;
  return own && named && own !== named ? new Http(named) : frames;
}

/** Failures that nobody catches, up to Node.js 22. */
function catchAll(transport) {
  const fail = (status) => (error) => transport.initError(toResponse(error), () => process.exit(status));
  const failures = { uncaughtException: fail(129), unhandledRejection: fail(128) };
  process.on('uncaughtException', (error) => {
    logs.error('Uncaught Exception', error);
    failures.uncaughtException(error);
  });
  process.on('unhandledRejection', (reason, promise) => {
    const error = new UnhandledPromiseRejection(reason, promise);
    logs.error('Unhandled Promise Rejection', error);
    failures.unhandledRejection(error);
  });
  global[BEFORE_EXIT] = () => (process.exitCode ??= 13); // a handler's module that never loads
  process.on('beforeExit', () => global[BEFORE_EXIT]());
  return failures;
}

async function run() {
  // As where AWS's client is an ES module: nothing is `require.main`.
  process.mainModule = undefined;
  delete require.cache[__filename];
  const transport = await connect();
  process.argv[1] = '/var/runtime/index.mjs';
  isModern = major() >= 24;
  const root = process.env.LAMBDA_TASK_ROOT ?? process.cwd();
  try {
    process.chdir(root);
  } catch {
    // a handler that needs its folder says so itself
  }
  if (isModern) invokeStore = new InvokeStoreSingle();
  setUpGlobals();
  logs = new Logs();
  const failures = isModern ? null : catchAll(transport);
  let handler, about;
  try {
    handler = await loadHandler(root, process.env._HANDLER);
    about = describe(handler);
  } catch (error) {
    if (!isModern) {
      logs.error('Uncaught Exception', error);
      failures.uncaughtException(error);
      return;
    }
    logs.error('Init Error', error);
    await new Promise((done) => transport.initError(toResponse(error), done));
    throw error;
  }
  transport.ready();
  if (isModern) {
    await new ModernRuntime(transport, handler, about).start();
  } else {
    global[BEFORE_EXIT] = () => {};
    new Runtime(transport, handler, about, failures).scheduleIteration();
  }
}

run();
