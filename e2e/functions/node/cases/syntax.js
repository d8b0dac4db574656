exports.handler = async () => 1
const x = ;
