// What functions do, each in its own way: the same on AWS's client and here.
'use strict';

class Custom extends Error {
  constructor(message) {
    super(message);
    this.name = 'Custom';
    this.detail = { a: 1 };
  }
}

const circular = {};
circular.self = circular;

const values = {
  undefined: undefined, null: null, true: true, text: 'grüße \u2028 "\\/', number: 1.5, nan: NaN, big: 10n, date: new Date(0),
  circular, buffer: Buffer.from('x'), map: new Map([[1, 2]]), set: new Set([1]), symbol: Symbol('s'), fn: () => 1, regexp: /x/,
  nested: { a: [undefined, () => 1, { b: undefined }] }, json: { toJSON: () => 'own' }, surrogate: '\ud800', empty: '', error: new Error('as value'),
  throwing: { toJSON() { throw new TypeError('no json'); } }, control: '\x00\x1f\x7f', typed: new Uint8Array([1, 2]), infinity: Infinity,
};

const throws = {
  error: () => { throw new Error('as asked'); },
  type: () => { throw new TypeError('as asked'); },
  custom: () => { throw new Custom('mine'); },
  lines: () => { throw new Error('two\nlines'); },
  cause: () => { throw new Error('second', { cause: new RangeError('first') }); },
  text: () => { throw 'text'; },
  number: () => { throw 7; },
  null: () => { throw null; },
  undefined: () => { throw undefined; },
  object: () => { throw { errorType: 'Mine', message: 'object' }; },
  like: () => { throw { name: 'Like', message: 'error', stack: 'at nowhere' }; },
  aggregate: () => { throw new AggregateError([new Error('one')], 'many'); },
  reference: () => nowhere,
  code: () => require('fs').readFileSync('/nowhere'),
  delete: () => { throw new Error('\x7f'); },
  stackless: () => { const e = new Error('no stack'); e.stack = undefined; throw e; },
  nameless: () => { const e = new Error('no name'); e.name = ''; throw e; },
  circular: () => { const e = new Error('round'); e.self = e; throw e; },
  recurse: () => { const f = () => f(); f(); },
};

const logs = {
  levels: () => { console.debug('debug'); console.info('info'); console.log('log'); console.warn('warn'); console.error('error'); },
  formats: () => { console.log('%s %d %j %o', 'a', 1, { b: 2 }, [3], 'rest'); console.log({ a: { b: { c: { d: 1 } } } }); console.log('two\nlines'); console.log(); console.log('', 1, null, undefined); },
  errors: () => { console.error(new Custom('logged')); console.error('with', new Error('behind')); console.log({ error: new Error('inside') }); },
  others: () => { console.table([{ a: 1 }]); console.group('g'); console.log('in'); console.groupEnd(); console.assert(false, 'asserted'); console.count(); },
  json: () => { console.log('{"a": 1}'); console.log({ level: 'mine', message: 'own' }); console.info(1, 2); console.log('text', { a: 1 }); console.log(new Map([[1, { a: 1 }]])); console.log(10n); console.log(circular); console.log(Symbol('s')); },
  warning: () => process.emitWarning('careful'),
};

const ends = {
  exit0: () => process.exit(0),
  exit3: () => process.exit(3),
  exitCode: () => { process.exitCode = 5; return 'went on'; },
  kill: () => process.kill(process.pid, 'SIGKILL'),
  timer: () => { setTimeout(() => { throw new Error('in a timer'); }, 1); return new Promise((done) => setTimeout(done, 100)); },
  reject: () => { Promise.reject(new Custom('unhandled')); return new Promise((done) => setTimeout(done, 100)); },
  'reject text': () => { Promise.reject('text'); return new Promise((done) => setTimeout(done, 100)); },
};

const surroundings = {
  cwd: () => process.cwd(), argv: () => process.argv.length, main: () => require.main === module, paths: () => module.paths.slice(0, 2),
  tz: () => new Date(0).getTimezoneOffset(), tty: () => [Boolean(process.stdout.isTTY), Boolean(process.stdin.isTTY)],
  globals: () => [typeof awslambda, typeof fetch, Object.keys(awslambda)], this: () => typeof this, title: () => process.title,
  listeners: () => ['uncaughtException', 'unhandledRejection', 'beforeExit', 'SIGTERM'].map((name) => process.listenerCount(name)),
  execArgv: () => process.execArgv, umask: () => process.umask(), env: () => process.env._X_AMZN_TRACE_ID === undefined,
};

exports.handler = async (event) => values[event];
exports.throws = async (event) => throws[event]();
exports.throwsSync = (event) => throws[event]();
exports.logs = async (event) => logs[event]();
exports.ends = async (event) => ends[event]();
exports.surroundings = async (event) => surroundings[event]();
exports.callback = (event, context, callback) => callback(null, values[event]);
exports.fails = (event, context, callback) => {
  try {
    throws[event]();
  } catch (error) {
    callback(error);
  }
};
exports.late = (event, context, callback) => {
  setTimeout(() => console.log('after'), 20);
  callback(null, 'early');
};
exports.atOnce = (event, context, callback) => {
  context.callbackWaitsForEmptyEventLoop = false;
  setTimeout(() => console.log('never seen'), 5000);
  callback(null, 'at once');
};
exports.twice = (event, context, callback) => {
  callback(null, 'first');
  callback(null, 'second');
};
exports.both = async (event, context, callback) => {
  callback(null, 'by callback');
  return 'by promise';
};
exports.nothing = () => {};
exports.returns = () => 'ignored';
exports.thenable = () => ({ then: (resolve) => resolve('thenable') });
exports.succeed = (event, context) => context.succeed('succeeded');
exports.fail = (event, context) => context.fail(new Error('failed'));
exports.done = (event, context) => context.done(null, 'done');
exports.doneWith = (event, context) => context.done('text', 'done');
exports.context = async (event, context) => ({
  keys: Object.keys(context).sort(), types: Object.keys(context).sort().map((key) => typeof context[key]), waits: context.callbackWaitsForEmptyEventLoop,
  name: context.functionName, client: context.clientContext === undefined, left: context.getRemainingTimeInMillis() > 0,
});
exports.constant = 7;
exports.Class = class {
  handler() {}
};
exports.a = { b: { c: async () => 'deep' } };
exports.three = async (event, context, callback) => typeof callback;
exports.stream = awslambda.streamifyResponse(async (event, stream, context) => {
  stream.setContentType('text/x');
  stream.write('one,');
  stream.write({ two: 2 });
  stream.end();
});
exports.http = awslambda.streamifyResponse(async (event, stream) => {
  const out = awslambda.HttpResponseStream.from(stream, { statusCode: 201, headers: { 'x-a': 'b' }, cookies: ['c=d'] });
  out.write('body');
  out.end();
});
exports.pipeline = awslambda.streamifyResponse((event, stream) => require('stream/promises').pipeline(require('stream').Readable.from(['a', 'b', 'c']), stream));
exports.breaks = awslambda.streamifyResponse(async (event, stream) => {
  stream.write('one');
  throw new Custom('in the middle');
});
exports.early = awslambda.streamifyResponse(async () => {
  throw new Custom('before all');
});
exports.syncStream = awslambda.streamifyResponse((event, stream) => {
  stream.write('x');
  stream.end();
});
exports.lateType = awslambda.streamifyResponse(async (event, stream) => {
  stream.write('x');
  stream.setContentType('text/y');
  stream.end();
});
