# frozen_string_literal: true

# The bootstrap of the Ruby runtimes: what runs between the interpreter and a function's handler.
#
# The host executes it as `ruby bootstrap.rb`. Where `_LAMP_CONTROL_FD` names a socket it speaks the frames of decision 7, else the
# HTTP Runtime API 2018-06-01. What a function sees follows AWS's own client: `AwsLambda::Marshaller` and `LambdaContext` are names
# that functions use, and errors, exit statuses and log lines have its words.
#
# Invariants: a forked child never speaks on the socket. Without a host there is no process: end of file is exit.
# Not yet: several invocations at once, SnapStart.

require 'json'
require 'stringio'

# AWS's runtime has these loaded, and functions use them without a word; here they are loaded when they are first named.
autoload :Logger, 'logger'
autoload :Net, 'net/http'
autoload :URI, 'uri'

$stdout.sync = true

module AwsLambda
  # How an event becomes a handler's argument, and its result a response. Functions may replace either method.
  class Marshaller
    class << self
      def marshall_request(raw_request)
        raw_request['Content-Type'] == 'application/json' ? JSON.parse(raw_request.body) : raw_request.body
      end

      def marshall_response(method_response)
        case method_response
        when StringIO, IO then [method_response, 'application/unknown']
        else method_response.to_json
        end
      end
    end
  end
end

# What a handler learns of its invocation.
class LambdaContext
  attr_reader :aws_request_id, :invoked_function_arn, :log_group_name, :log_stream_name, :function_name, :memory_limit_in_mb,
              :function_version, :identity, :tenant_id, :client_context, :deadline_ms

  def initialize(request)
    @clock_diff = Process.clock_gettime(Process::CLOCK_REALTIME, :millisecond) - Process.clock_gettime(Process::CLOCK_MONOTONIC, :millisecond)
    @deadline_ms = request['Lambda-Runtime-Deadline-Ms'].to_i
    @aws_request_id = request['Lambda-Runtime-Aws-Request-Id']
    @invoked_function_arn = request['Lambda-Runtime-Invoked-Function-Arn']
    @log_group_name = ENV['AWS_LAMBDA_LOG_GROUP_NAME']
    @log_stream_name = ENV['AWS_LAMBDA_LOG_STREAM_NAME']
    @function_name = ENV['AWS_LAMBDA_FUNCTION_NAME']
    @memory_limit_in_mb = ENV['AWS_LAMBDA_FUNCTION_MEMORY_SIZE']
    @function_version = ENV['AWS_LAMBDA_FUNCTION_VERSION']
    given = ->(name) { request[name].to_s.empty? ? nil : request[name] }
    @identity = given['Lambda-Runtime-Cognito-Identity']&.then { |text| JSON.parse(text) }
    @tenant_id = given['Lambda-Runtime-Aws-Tenant-Id']
    @client_context = given['Lambda-Runtime-Client-Context']&.then { |text| JSON.parse(text) }
  end

  def get_remaining_time_in_millis
    now = Process.clock_gettime(Process::CLOCK_MONOTONIC, :millisecond) + @clock_diff
    [@deadline_ms - now, 0].max
  end
end

# The function's handler: `file.method` or `file.Class.method`.
class LambdaHandler
  attr_reader :handler_file_name, :handler_method_name

  def initialize(env_handler:)
    parts = env_handler.split('.')
    unless [2, 3].include?(parts.size)
      raise ArgumentError, "Invalid handler #{parts}, must be of form FILENAME.METHOD or FILENAME.CLASS.METHOD where FILENAME " \
                           'corresponds with an existing Ruby source file FILENAME.rb, CLASS is an optional module/class namespace and ' \
                           'METHOD is a callable method. If using CLASS, METHOD must be a class-level method.'
    end
    @handler_file_name = parts.first
    @handler_class = parts[1] if parts.size == 3
    @handler_method_name = parts.last
  end

  def call_handler(request:, context:)
    target = @handler_class ? Kernel.const_get(@handler_class) : self
    AwsLambda::Marshaller.marshall_response(target.__send__(@handler_method_name, event: request, context: context))
  end
end

module Lamplight
  PARKED, INIT, READY, INIT_ERROR, INVOKE, EVENT, CREDIT, _HEAD, RESPONSE, ERROR, NEXT, SHUTDOWN = *1..12
  MORE = 1
  PAYLOAD_BYTES_MAX = 65_536
  CREDIT_BYTES = 262_144
  NAMED_ERRORS = %w[ArgumentError NoMethodError Exception StandardError NameError LoadError SystemExit SystemStackError].freeze

  # An event and its headers, as AWS's client has them in one object.
  class Request
    attr_reader :body

    def initialize(headers, body)
      @headers = headers.transform_keys(&:downcase)
      @body = body
    end

    def [](name)
      @headers[name.downcase]
    end
  end

  # Frames on a connected socket.
  class Frames
    def initialize(number)
      @io = IO.for_fd(number, 'r+b')
      @io.sync = true
      @io.close_on_exec = true
      @data = String.new(capacity: PAYLOAD_BYTES_MAX)
      @stream = 0
      frames = self
      guard = Module.new do
        define_method(:_fork) { super().tap { |child| frames.forked if child.zero? } }
      end
      Process.singleton_class.prepend(guard)
    end

    def forked
      @io.close
    end

    # Whether the host has sent something already.
    def waiting?
      @data << @io.read_nonblock(PAYLOAD_BYTES_MAX)
      true
    rescue IO::WaitReadable
      false
    rescue EOFError
      Process.exit!(1)
    end

    def receive
      parts = nil
      loop do
        length, kind, flags, _, stream = need(12).unpack('L<CCS<L<')
        payload = need(length)
        Process.exit!(0) if kind == SHUTDOWN
        parts << payload if parts
        return [kind, stream, parts ? parts.join : payload] if (flags & MORE).zero?

        parts ||= [payload]
      end
    end

    def send_message(kind, payload = '', stream = @stream, after = '')
      payload = payload.b
      frames = +''.b
      at = 0
      loop do
        part = payload.byteslice(at, PAYLOAD_BYTES_MAX)
        at += part.bytesize
        frames << head(kind, at < payload.bytesize, part.bytesize, stream) << part
        break if at >= payload.bytesize
      end
      write(frames << after)
    end

    def init
      send_message(PARKED)
      JSON.parse(receive.last.force_encoding('UTF-8'))['env']
    end

    def ready
      send_message(READY)
    end

    def init_error(error, _type)
      send_message(INIT_ERROR, JSON.generate(error))
    end

    def next
      kind = CREDIT
      kind, @stream, payload = receive while kind == CREDIT # credit for a response that has gone already
      told = JSON.parse(payload.force_encoding('UTF-8'))
      kind, _, event = receive
      kind, _, event = receive while kind == CREDIT
      headers = {
        'Content-Type' => 'application/json',
        'Lambda-Runtime-Aws-Request-Id' => told['requestId'],
        'Lambda-Runtime-Deadline-Ms' => told['deadlineMs'].to_s,
        'Lambda-Runtime-Invoked-Function-Arn' => told['invokedFunctionArn'],
        'Lambda-Runtime-Trace-Id' => told['traceId'],
        'Lambda-Runtime-Client-Context' => told['clientContext'],
        'Lambda-Runtime-Cognito-Identity' => told['cognitoIdentity'],
        'Lambda-Runtime-Aws-Tenant-Id' => told['tenantId']
      }
      Request.new(headers, event.force_encoding('UTF-8'))
    end

    def respond(_id, data, _type)
      data = data.b
      credit = CREDIT_BYTES
      at = 0
      loop do
        credit += receive_credit while credit.zero?
        part = data.byteslice(at, [credit, PAYLOAD_BYTES_MAX].min)
        at += part.bytesize
        credit -= part.bytesize
        more = at < data.bytesize
        frame = head(RESPONSE, more, part.bytesize, @stream) << part
        frame << head(NEXT, false, 0, @stream) unless more
        write(frame)
        break unless more
      end
    end

    def fail(_id, error, _type, last)
      send_message(ERROR, error.to_json, @stream, last ? '' : head(NEXT, false, 0, @stream))
    end

    private

    def head(kind, more, length, stream)
      [length, kind, more ? MORE : 0, 0, stream].pack('L<CCS<L<')
    end

    def receive_credit
      kind, stream, payload = receive
      kind == CREDIT && stream == @stream ? payload.unpack1('L<') : 0
    end

    def need(count)
      @data << @io.readpartial(PAYLOAD_BYTES_MAX + 512) while @data.bytesize < count
      @data.slice!(0, count)
    rescue EOFError, IOError, SystemCallError
      Process.exit!(@io.closed? ? 0 : 1)
    end

    # A forked child that comes back from the handler ends here: its parent answers.
    def write(data)
      @io.write(data)
    rescue IOError, SystemCallError
      Process.exit!(@io.closed? ? 0 : 1)
    end
  end

  # The HTTP Runtime API, over one connection that is kept.
  class Http
    ROOT = '/2018-06-01/runtime/'

    def initialize(address)
      host, port = address.split(':')
      @http = Net::HTTP.new(host, port.to_i)
      @http.read_timeout = nil
      @http.keep_alive_timeout = 3600
    end

    def ready; end

    def next
      @http.start unless @http.started?
      answer = @http.get("#{ROOT}invocation/next", 'User-Agent' => agent)
      raise "Received #{answer.code} when waiting for next invocation." unless answer.is_a?(Net::HTTPSuccess)

      headers = answer.each_header.to_h
      Request.new({ 'content-type' => 'application/json' }.merge(headers), answer.body.force_encoding('UTF-8'))
    end

    def init_error(error, type)
      post('init/error', error.to_json, 'Lambda-Runtime-Function-Error-Type' => type)
    end

    def respond(id, data, type)
      post("invocation/#{id}/response", data, 'Content-Type' => type)
    end

    def fail(id, error, type, _last)
      headers = { 'Lambda-Runtime-Function-Error-Type' => type }
      cause = JSON.generate(cause_of(error), ascii_only: true)
      headers['Lambda-Runtime-Function-XRay-Error-Cause'] = cause if cause.bytesize < 1_048_576
      post("invocation/#{id}/error", error.to_json, headers)
    end

    private

    def post(path, body, headers)
      @http.start unless @http.started?
      @http.post(ROOT + path, body, { 'Content-Type' => 'application/json', 'User-Agent' => agent }.merge(headers))
    end

    def agent
      "aws-lambda-ruby/#{RUBY_VERSION}-lamplight"
    end

    def cause_of(error)
      stack = error[:stackTrace].first(15).map { |frame| { path: frame.path, line: frame.lineno, label: frame.label } }
      exceptions = [{ message: error[:errorMessage], type: error[:errorType], stack: stack }]
      { working_directory: Dir.pwd, paths: Gem.paths.path, exceptions: exceptions }
    end
  end

  # The host's log pipe: one frame, one event. `puts` and loggers of standard output write to it.
  class LogPipe
    def self.open
      number = ENV.delete('_LAMBDA_TELEMETRY_LOG_FD') or return
      sink = new(IO.for_fd(number.to_i, 'wb'))
      Kernel.module_eval do
        define_method(:puts) do |*values|
          text = values.flatten.map { |value| value.to_s.encode('UTF-8') }.join("\n")
          text += "\n" unless text.end_with?("\n")
          sink.write(text)
          nil
        end
      end
      patch_logger(sink)
    rescue SystemCallError
      nil # without the pipe, standard output is where events go
    end

    def self.patch_logger(sink)
      require 'logger'
      formatter = Class.new(Logger::Formatter) do
        def call(severity, time, progname, msg)
          format('%<initial>s, [%<time>s #%<process>d] %<severity>5s %<request>s -- %<progname>s: %<msg>s',
                 initial: severity[0], time: format_datetime(time), process: $$, severity: severity,
                 request: $_global_aws_request_id, progname: progname, msg: msg2str(msg)).encode('UTF-8')
        end
      end
      Logger.prepend(Module.new do
        define_method(:initialize) do |logdev, *rest, level: 'debug', **options|
          if [nil, $stdout, $stderr].include?(logdev)
            logdev = sink
            options[:formatter] ||= formatter.new
          end
          super(logdev, *rest, level: level, **options)
        end
      end)
    end

    def initialize(io)
      @io = io
      @io.sync = true
      @io.close_on_exec = true
      @lock = Mutex.new
      @marks = LogPipe.marks
      @pipe = @marks&.stat&.ino
    end

    # A mark on standard output says where a frame belongs among what is printed there.
    MARK = "\xff\xfemark\xff\n".b.freeze
    MARK_FD = 61

    def self.marks
      io = IO.for_fd(MARK_FD, 'wb')
      return unless io.stat.pipe?

      io.sync = true
      io.close_on_exec = true
      io
    rescue SystemCallError
      nil
    end

    # The function may have closed it, and given its number to a file.
    def check_marks
      return unless @marks

      stat = @marks.stat
      drop_marks unless stat.pipe? && stat.ino == @pipe
    rescue SystemCallError, IOError
      drop_marks
    end

    # What has its number now is not ours to close.
    def drop_marks
      @marks&.autoclose = false
      @marks = nil
    end

    def mark
      @marks&.write(MARK)
    rescue SystemCallError, IOError
      drop_marks
    end

    def write(text)
      @lock.synchronize { check_marks }
      type = @marks ? 0xa55b0003 : 0xa55a0003
      frame = [type, text.bytesize, Process.clock_gettime(Process::CLOCK_REALTIME, :microsecond)].pack('L>L>Q>') << text.b
      @lock.synchronize do
        @io.write(frame)
        mark
      end
    end

    def close; end

    def reopen(*); end
  end

  # Loads the function, and hands it one event after another.
  class Runtime
    def initialize(transport)
      @transport = transport
    end

    def run
      root = Dir.pwd
      $LOAD_PATH.unshift(root) unless $LOAD_PATH.include?(root)
      begin
        handler = LambdaHandler.new(env_handler: ENV.fetch('_HANDLER'))
        require handler.handler_file_name
      rescue Exception => e
        error = described(e, 'Init')
        log('Init error when loading handler ', error)
        @transport.init_error(error, type_of(e, 'Init'))
        exit(-4)
      end
      @transport.ready
      loop { handle(handler, @transport.next) }
    end

    private

    def handle(handler, raw)
      id = $_global_aws_request_id = raw['Lambda-Runtime-Aws-Request-Id']
      trace = raw['Lambda-Runtime-Trace-Id']
      ENV['_X_AMZN_TRACE_ID'] = trace if trace
      result, type = invoke(handler, raw)
      @transport.respond(id, type == 'application/unknown' ? result.read : result, type || 'application/json')
    rescue Failure => e
      error = described(e.cause, 'Function')
      log(e.is_critical ? 'Critical exception from handler' : 'Error raised from handler method', error)
      @transport.fail(id, error, type_of(e.cause, 'Function'), e.is_critical)
      exit(-1) if e.is_critical
    end

    def invoke(handler, raw)
      handler.call_handler(request: AwsLambda::Marshaller.marshall_request(raw), context: LambdaContext.new(raw))
    rescue NameError
      raise Failure.new(true)
    rescue StandardError
      raise Failure.new(false)
    rescue Exception
      raise Failure.new(true)
    end

    def described(error, phase)
      frames = (error.backtrace_locations || []).first(100).take_while { |frame| frame.path != __FILE__ }
      { errorMessage: error.message, errorType: "#{phase}<#{error.class}>", stackTrace: frames }
    end

    def type_of(error, phase)
      NAMED_ERRORS.include?(error.class.to_s) ? "#{phase}<#{error.class}>" : 'Function<UserException>'
    end

    def log(title, error)
      puts title
      puts JSON.pretty_generate(error)
    end
  end

  # What a handler raised, and whether the process ends of it.
  class Failure < StandardError
    attr_reader :is_critical

    def initialize(is_critical)
      super()
      @is_critical = is_critical
    end
  end

  # The transport, with the function's environment taken over.
  def self.connect
    number = ENV.delete('_LAMP_CONTROL_FD')
    return Http.new(ENV.fetch('AWS_LAMBDA_RUNTIME_API')) unless number

    own = ENV['AWS_LAMBDA_RUNTIME_API']
    log = ENV['_LAMBDA_TELEMETRY_LOG_FD']
    frames = Frames.new(number.to_i)
    %w[logger time net/http].each { |name| require name } unless frames.waiting?
    take_environment(frames.init)
    ENV['_LAMBDA_TELEMETRY_LOG_FD'] ||= log if log
    named = ENV['AWS_LAMBDA_RUNTIME_API']
    own && named && own != named ? Http.new(named) : frames
  end

  def self.take_environment(variables)
    ENV.replace(variables)
    Encoding.default_external = Encoding::UTF_8 if ENV['LANG'].to_s.match?(/utf-?8/i)
    Gem.clear_paths if defined?(Gem)
    given = ENV['RUBYLIB'].to_s.split(':').reject(&:empty?)
    $LOAD_PATH.unshift(*(given - $LOAD_PATH))
  end

  def self.start
    transport = connect
    Dir.chdir(ENV['LAMBDA_TASK_ROOT']) if Dir.exist?(ENV['LAMBDA_TASK_ROOT'].to_s)
    LogPipe.open
    Runtime.new(transport).run
  end
end

Lamplight.start
