exports.handler = async () => module.id;
