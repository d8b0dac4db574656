const value = await new Promise((done) => setTimeout(() => done('awaited'), 10));
export const handler = async () => value;
