// What all parts of the page share: the items and the lists as they were sent last, and two lines that say what happens.
import * as shop from "/shop.js";

export const items = new Map(); // by id
export const lists = new Map(); // by name
export const named = item => shop.title(items.get(item)) || item;
export const element = id => document.getElementById(id);
export const text = (tag, words, name) =>
	Object.assign(document.createElement(tag), {textContent: words}, name && {className: name});
export const say = words => { element("said").textContent = words; };
export const tell = words => { element("outcome").textContent = words; };
