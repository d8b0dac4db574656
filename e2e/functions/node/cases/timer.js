setTimeout(() => { throw new Error('timer in init'); }, 1);
exports.handler = async () => new Promise((done) => setTimeout(() => done(1), 50));
