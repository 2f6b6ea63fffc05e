// The page: shows a view, listens to what changes, says how long it took. What needs no document is in shop.js.
import {choose, last, settle, shelves} from "/panel.js";
import * as shop from "/shop.js";
import {element, items, lists, named, say, text} from "/state.js";
import {acts, button, drawing, fill, sold} from "/tiles.js";

const MORE = 48; // items that the grid shows at once

let cart = JSON.parse(localStorage.getItem("storefront_cart") ?? "{}");
let here = shop.view(location.pathname), query = "", most = MORE;
let looked = localStorage.getItem("storefront_item") ?? ""; // the item in view, or the last one that was
let click = null; // the last one that lists may answer: when it was, by the clock and by the page's time
let source = null;

// ── lists

const sections = new Map(); // by list

const section = name => {
	if (sections.has(name)) return sections.get(name);
	const made = document.createElement("section"), head = document.createElement("header");
	const row = text("ol", "", "row");
	made.id = `list-${name}`;
	made.className = "shelf";
	made.setAttribute("aria-labelledby", `head-${name}`);
	const title = text("h2", "");
	title.id = `head-${name}`;
	const facts = text("p", "", "facts");
	facts.append(text("span", "", "state"), ", ", text("span", "", "age"), text("span", "", "took"));
	head.append(title, facts);
	made.append(head, row);
	sections.set(name, made);
	return made;
};

const draw = (list, read_at_ms) => {
	const before = lists.get(list.name), made = section(list.name);
	const {came, left} = shop.difference(before?.items ?? [], list.items);
	lists.set(list.name, list);
	made.hidden = !list.items.length;
	made.querySelector("h2").textContent = shop.heading(list, named);
	const state = made.querySelector(".state");
	state.textContent = shop.state(list);
	state.className = `state ${list.state}`;
	fill(made.querySelector(".row"), list.items, place => shop.reason(list, place, named), before != null);
	if (list.of === "visitor" && list.list_id !== before?.list_id && shop.answers(list, click)) took(list, made, read_at_ms, came.length, left.length);
};

// How long it was from the click until the list was read, and until it is on the screen.
const took = (list, made, read_at_ms, came, left) => {
	const asked = click, shown = made.querySelector(".took");
	const read_ms = Math.max(0, Math.round(read_at_ms - asked.at_ms));
	shown.textContent = `, read ${read_ms} ms after your click`;
	requestAnimationFrame(() => setTimeout(() => {
		const end = performance.now();
		shown.textContent = `, read ${read_ms} ms after your click, on the screen after ${Math.round(end - asked.start)}`;
		performance.measure(`click to ${list.name}`, {start: asked.start, end});
		if (list.name === shop.first(here)[0])
			say(`${shop.heading(list, named)}: ${came} new, ${left} gone, ${Math.round(end - asked.start)} ms after your click`);
	}));
};

const order = () => {
	const names = [...new Set([...shop.first(here), ...lists.keys()])].filter(name => lists.has(name));
	const wanted = names.map(section), holder = element("lists");
	const isSame = wanted.length === holder.children.length && wanted.every((each, place) => holder.children[place] === each);
	if (!isSame) holder.replaceChildren(...wanted);
};

const ages = () => {
	for (const [name, list] of lists)
		section(name).querySelector(".age").textContent = list.computed_at_ms ? shop.age(Date.now() - list.computed_at_ms) : "";
};

// ── what the server sends

const look = () => {
	source?.close();
	let isFirst = true; // what is sent first is all that there is
	source = new EventSource(`/live?first=${shop.first(here)}&item=${encodeURIComponent(looked)}`);
	source.addEventListener("lists", ({data}) => {
		const {read_at_ms, lists: changed} = JSON.parse(data);
		if (isFirst) for (const name of lists.keys()) if (!changed.some(list => list.name === name)) lists.delete(name);
		isFirst = false;
		for (const list of changed) draw(list, read_at_ms);
		order();
		ages();
		shelves();
		settle();
	});
	source.addEventListener("items", ({data}) => {
		for (const item of JSON.parse(data)) know(item);
		settle();
	});
	source.addEventListener("trouble", ({data}) => say(`Lists can't be read: ${JSON.parse(data)}`));
};

const know = item => {
	items.set(item.item_id, item);
	for (const made of document.querySelectorAll(`.tile[data-id="${CSS.escape(item.item_id)}"]`)) sold(made, item);
	if (here.item === item.item_id) show();
};

// ── what a visitor does

const clicked = ({timeStamp: start}) => { click = {at_ms: Math.floor(Date.now() - performance.now() + start), start}; };
const track = (type, fields) => liveshelf.track(type, fields);
const keep = now => {
	cart = now;
	localStorage.setItem("storefront_cart", JSON.stringify(cart));
	element("pieces").textContent = shop.pieces(cart);
	if (here.name === "cart") show();
};

const put = (item, event) => {
	clicked(event);
	track("add_to_cart", shop.facts(items.get(item) ?? {item_id: item}));
	keep(shop.add(cart, item));
	say(`${named(item)} is in the cart`);
};

const take = (item, event) => {
	clicked(event);
	track("remove_from_cart", shop.facts(items.get(item) ?? {item_id: item}));
	keep(shop.remove(cart, item));
	element("heading").focus();
	say(`${named(item)} is out of the cart`);
};

const buy = event => {
	clicked(event);
	for (const [item, quantity] of Object.entries(cart)) track("purchase", {...shop.facts(items.get(item) ?? {item_id: item}), quantity});
	keep({});
	element("heading").focus();
	say("Bought. What was bought isn't recommended again.");
};

const viewed = item => {
	looked = item;
	localStorage.setItem("storefront_item", item);
	element("chosen").value = item;
	const event = track("view", shop.facts(items.get(item) ?? {item_id: item}));
	last.view = event || null;
};

// ── views

const show = () => {
	const made = element("view");
	const heading = {item: () => named(here.item), cart: () => "Cart", items: () => "Items"}[here.name]();
	element("heading").textContent = heading;
	document.title = `${heading} · liveshelf storefront`;
	while (made.children.length > 1) made.lastChild.remove();
	if (here.name === "item") made.append(product(items.get(here.item) ?? {item_id: here.item}));
	if (here.name === "cart") made.append(...inCart());
	element("items").hidden = here.name !== "items";
	if (here.name === "items") grid();
	for (const link of document.querySelectorAll("nav a"))
		link.dataset.view === here.name ? link.setAttribute("aria-current", "page") : link.removeAttribute("aria-current");
};

const product = item => {
	const made = text("div", "", "product"), facts = document.createElement("div"), buttons = text("div", "", "acts");
	const is = shop.soldOut(item);
	const stock = is ? "sold out" : item.stock == null ? "" : `${item.stock} in stock`;
	const add = button(is ? "Sold out" : "Add to cart", "", event => put(item.item_id, event), "main");
	add.disabled = is;
	buttons.append(add, button("Why not in a list?", "", () => { choose(item.item_id); }));
	facts.append(text("p", [shop.price(item), item.category, item.colour, stock].filter(Boolean).join(" · ")), buttons);
	made.append(drawing(item), facts);
	return made;
};

const inCart = () => {
	if (!shop.pieces(cart)) return [text("p", "Nothing yet.")];
	const table = document.createElement("table"), head = document.createElement("tr");
	for (const words of ["Item", "Pieces", "Price of one", "Change"]) head.append(Object.assign(text("th", words), {scope: "col"}));
	table.createTHead().append(head);
	const body = table.createTBody();
	for (const [item, count] of Object.entries(cart)) {
		const row = body.insertRow(), link = text("a", named(item));
		link.href = shop.path(item);
		row.insertCell().append(link);
		row.insertCell().append(count);
		row.insertCell().append(shop.price(items.get(item) ?? {}));
		row.insertCell().append(button("Remove", named(item), event => take(item, event)));
	}
	return [table, button("Buy", "", buy, "main")];
};

const grid = () => {
	const found = shop.matches([...items.values()].filter(item => item.title || item.category), query);
	fill(document.querySelector("#items .grid"), found.slice(0, most).map(item => item.item_id), () => "", false);
	element("all").textContent = query ? `${found.length} items for “${query}”` : `All ${found.length} items`;
	element("more").hidden = found.length <= most;
};

const go = (path, isBack) => {
	if (!isBack) history.pushState(null, "", path);
	here = shop.view(new URL(path, location.href).pathname);
	if (here.name === "item") viewed(here.item);
	show();
	look();
	if (!isBack) scrollTo(0, 0);
	element("heading").focus({preventScroll: true});
};

// ── start

Object.assign(acts, {put, choose});
document.addEventListener("click", event => {
	const link = event.target.closest("a[href^='/']");
	if (!link || event.defaultPrevented || event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
	event.preventDefault();
	clicked(event);
	go(link.getAttribute("href"));
});
addEventListener("popstate", event => {
	if (shop.isSame(shop.view(location.pathname), here)) return; // the link that skips to the shop: nothing new is viewed
	clicked(event);
	go(location.pathname, true);
});
element("search").addEventListener("submit", event => {
	event.preventDefault();
	clicked(event);
	query = element("query").value;
	most = MORE;
	go("/");
});
element("more").addEventListener("click", () => { most += MORE; grid(); });
element("other").addEventListener("click", () => {
	for (const name of Object.keys(localStorage)) if (/^(ls|storefront)_/.test(name)) localStorage.removeItem(name);
	document.cookie = "ls_id=;path=/;max-age=0";
	location.href = "/";
});
element("out").addEventListener("click", event => {
	clicked(event);
	liveshelf.optOut();
	say("Nothing more is remembered of you; your lists become those of everybody.");
});
// A page that nobody sees asks for nothing.
document.addEventListener("visibilitychange", () => document.hidden ? source?.close() : look());
setInterval(() => { ages(); settle(); }, 1000);

for (const item of await (await fetch("/items")).json()) items.set(item.item_id, item);
element("known").append(...[...items.values()].map(item => Object.assign(document.createElement("option"), {value: item.item_id, label: shop.title(item)})));
element("pieces").textContent = shop.pieces(cart);
clicked({timeStamp: performance.now()});
if (here.name === "item") viewed(here.item);
show();
look();
