// The camera that the address names is kept over the login: a server never sees that part of it.
document.forms[0].action = `/login${location.hash}`;
