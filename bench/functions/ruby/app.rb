def handler(event:, context:)
  puts "an event came"
  event
end
