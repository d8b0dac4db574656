Promise.reject(new Error('rejected in init'));
exports.handler = async () => new Promise((done) => setTimeout(() => done(1), 50));
