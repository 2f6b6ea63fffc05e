// The shop's side: an item's stock, pins, and why. Each says how long it took until the lists on the page have it.
import * as shop from "/shop.js";
import {element, items, lists, named, tell, text} from "/state.js";

const GIVE_UP_MS = 8_000; // for what the panel waits for
const AGAIN_MS = 400; // between two asks for a list under a new version of shelves
const ACTS = {out: "sold out", back: "back in stock", pin: "pinned", unpin: "unpinned"};
const SHOWN = {gone: "gone from all lists", shown: "in the lists", version: "out of its place"};

export const last = {view: null}; // the visitor's last view, as an event
let waiting = null;

export const choose = item => {
	element("panel").open = true;
	element("chosen").value = item;
	tell(`${named(item)} is chosen.`);
	element("chosen").focus();
};

export const shelves = () => {
	const select = element("shelf"), names = [...lists.values()].filter(list => list.of === "visitor").map(list => list.name);
	const known = [...select.options].map(option => option.value), chosen = select.dataset.chosen ?? "home";
	if (names.some(name => !known.includes(name))) select.replaceChildren(...names.map(name =>
		Object.assign(text("option", shop.heading({name, about: []}, named)), {value: name, selected: name === chosen})));
};

const ask = async (path, body) => {
	const answer = await fetch(`/panel/${path}`, {
		method: "POST", body: JSON.stringify(body), headers: {"content-type": "application/json", "x-token": document.body.dataset.token}});
	const said = answer.headers.get("content-type")?.startsWith("application/json") ? await answer.json() : {error: await answer.text()};
	if (said.error) throw new Error(said.error);
	return said;
};

const act = async (what, item, shelf) => {
	if (!items.has(item)) return tell(`There is no item ${item}.`);
	const start = performance.now();
	tell("…");
	try {
		if (what === "why") return explain(await ask("why", {item, shelf}), shelf);
		if (what === "out" || what === "back") {
			const asked = waiting = {item, start, what, wants: what === "out" ? "gone" : "shown"};
			const {ms} = await ask("stock", {item, stock: what === "out" ? 0 : 10});
			if (waiting === asked) tell(`${named(item)}: said ${ACTS[what]}, which took ${ms} ms. Lists follow …`);
		} else {
			const {version, ms} = await ask("pin", {item, shelf, at: 1, pinned: what === "pin"});
			tell(`${named(item)}: ${ACTS[what]} in version ${version}, published and activated in ${ms} ms. Lists follow …`);
			waiting = {item, start, what, version, shelf, wants: what === "pin" ? "shown" : "version"};
			again();
		}
		settle();
	} catch (error) {
		waiting = null;
		tell(error.message);
	}
};

const explain = ({text, ms}, shelf) => tell(`${shop.heading(lists.get(shelf) ?? {name: shelf, about: []}, named)}: ${text}\n(${(ms / 1000).toFixed(1)} s)`);

// A visitor's list is made anew with the next event. The view that was sent last, sent again, counts as no other event.
const again = async () => {
	const asked = waiting;
	while (last.view && waiting === asked && performance.now() - asked.start < GIVE_UP_MS) {
		liveshelf.track("view", {...last.view});
		await new Promise(done => setTimeout(done, AGAIN_MS));
	}
	if (!last.view && waiting === asked) tell(`${element("outcome").textContent}\nThe lists of your next click have it.`);
};

// Say how long the shop's change took until the lists on the page have it.
export const settle = () => {
	if (!waiting) return;
	const asked = waiting, ms = performance.now() - asked.start;
	const shown = Object.fromEntries(lists);
	const isThere = asked.wants === "version" ? lists.get(asked.shelf)?.shelves === asked.version : shop.isDone(asked, shown);
	if (isThere) {
		waiting = null;
		requestAnimationFrame(() => setTimeout(() => {
			const end = performance.now();
			performance.measure(`panel ${asked.what}`, {start: asked.start, end});
			tell(`${named(asked.item)}: ${ACTS[asked.what]}; ${SHOWN[asked.wants]} `
				+ `${((end - asked.start) / 1000).toFixed(2)} s after you pressed the button.`);
		}));
	} else if (ms > GIVE_UP_MS) {
		waiting = null;
		tell(`${named(asked.item)}: ${ACTS[asked.what]}. Your lists don't show it so far.`);
	}
};

element("tools").addEventListener("submit", event => {
	event.preventDefault();
	act(event.submitter?.value ?? "why", element("chosen").value.trim(), element("shelf").value);
});
element("shelf").addEventListener("change", ({target}) => { target.dataset.chosen = target.value; });
element("on-tiles").addEventListener("change", ({target}) => document.body.classList.toggle("on-tiles", target.checked));
