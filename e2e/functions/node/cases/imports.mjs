import 'nowhere';
export const handler = async () => 1;
