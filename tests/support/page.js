// Just enough of a page for the tracker, where no browser is: cookies, storage, clock, network, and what was sent.
// node page.js TRACKER < SCRIPT: SCRIPT has `open(options)`, which runs the tracker, and returns what is printed as JSON.
const fs = require("fs"), vm = require("vm"), {webcrypto} = require("crypto");
const TRACKER = fs.readFileSync(process.argv[2], "utf8");

const clock = skew => class extends Date {
	static now() { return Date.now() + skew.ms; }
};

// storage: an object with what is kept, "denied" (a SecurityError), null, or "full" (takes nothing more).
const storageOf = (storage, kept) => {
	if (storage === "denied") throw new Error("Access is denied for this document.");
	if (storage === "full") return new Proxy(kept, {set() { throw new Error("QuotaExceededError"); }});
	return storage === null ? null : kept;
};

const open = ({
	cookies = {}, storage = {}, protocol = "http:", key = "K", consent = "granted", item = {item_id: "lamp-7"},
	prerendering = false, skew = {ms: 0}, online = true, status = 200, blocked = false} = {}) => {
	const jar = new Map(Object.entries(cookies)), attributes = {}, sent = [], listeners = [];
	const kept = storage && typeof storage === "object" ? {...storage} : {};
	Object.defineProperty(kept, "removeItem", {value: name => delete kept[name]});
	const listen = target => (type, call) => listeners.push({target, type, call});
	const post = (url, body) => sent.push({url: String(url), events: [].concat(JSON.parse(body))});
	const document = {
		currentScript: {src: "https://collect.shop.example/t.js", dataset: consent ? {key, consent} : {key}},
		get cookie() { return [...jar].map(([name, value]) => `${name}=${value}`).join("; "); },
		set cookie(text) {
			const [pair, ...rest] = text.split(";"), [name, value] = pair.split(/=(.*)/s);
			attributes[name] = rest;
			if (rest.includes("max-age=0")) jar.delete(name);
			else if (!blocked) jar.set(name, value);
		},
		querySelector: () => item ? {dataset: item} : null,
		documentElement: {scrollHeight: 1000}, hidden: false, prerendering, addEventListener: listen("document"),
	};
	const page = {sent, jar, attributes, kept, document, status, navigator: {
		onLine: online, sendBeacon: (url, body) => (post(url, body), true)}};
	const world = vm.createContext({
		document, navigator: page.navigator, location: {protocol}, URL, Date: clock(skew), crypto: webcrypto, performance,
		scrollY: 0, innerHeight: 500, addEventListener: listen("window"),
		fetch: (url, {body}) => (post(url, body), Promise.resolve({status: page.status, ok: page.status < 400})),
	});
	world.window = world;
	Object.defineProperty(world, "localStorage", {get: () => storageOf(storage, kept)});
	vm.runInContext(TRACKER, world);
	page.liveshelf = world.liveshelf;
	page.events = () => sent.flatMap(each => each.events);
	page.fire = (type, event = {}) =>
		listeners.filter(each => each.type === type).forEach(each => each.call(event));
	return page;
};

const Asynchronous = (async () => {}).constructor;
new Asynchronous("open", fs.readFileSync(0, "utf8"))(open).then(
	found => console.log(JSON.stringify(found ?? null)), error => { console.error(error); process.exitCode = 1; });
