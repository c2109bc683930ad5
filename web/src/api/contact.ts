/**
 * Announces "heard" when anything arrives from the backend, on any request or stream, and
 * "doubt" when a connection breaks.
 */
export const contact = new EventTarget();

export const heard = () => contact.dispatchEvent(new Event("heard"));
export const doubt = () => contact.dispatchEvent(new Event("doubt"));
