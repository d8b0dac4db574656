export const handler = async () => typeof require + ' ' + import.meta.url;
export default 1;
