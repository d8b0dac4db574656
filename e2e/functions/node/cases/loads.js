console.info('at load');
exports.handler = async () => { console.log('called'); return 1; };
