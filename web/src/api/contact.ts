/**
 * Announces "heard" when anything arrives from the backend, on any request or stream,
 * "doubt" when a connection breaks, and "unauthorized" when a request needs a key.
 */
export const contact = new EventTarget();

export const heard = () => contact.dispatchEvent(new Event("heard"));
export const doubt = () => contact.dispatchEvent(new Event("doubt"));
export const unauthorized = () => contact.dispatchEvent(new Event("unauthorized"));
