export const handler = async () => 'esm by package';
