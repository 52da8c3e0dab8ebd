// What the upstream says and the clients look for.
export const TEXT = "the canary sings ";
export const EVENTS = 20;
export const ENORMOUS = 200;
