// What the page knows without a document: how items look, what lists say, what a click changes. Tested under node.

// The colours of the shop's own catalogue; another word gets a grey of its own.
export const COLOURS = {
	beige: "#d9c7a3", black: "#2a2a2e", blue: "#3f6fd1", brown: "#7b4f2e", burgundy: "#7a1f3a", gray: "#8f949b",
	grey: "#8f949b", green: "#3c8f4f", "navy blue": "#1f2f5c", olive: "#77803a", pink: "#e79ab5", red: "#c8352e",
	violet: "#7d4fb0", white: "#fafafa", yellow: "#e3c32d", orange: "#e2832b",
};
// Outlines on a field of 100 by 100.
export const SHAPES = {
	trousers: "M32 12H68L74 88H56L50 38L44 88H26Z",
	skirts: "M36 16H64L66 26L82 84H18L34 26Z",
	blouses: "M36 16L44 20H56L64 16L88 32L80 48L70 42V84H30V42L20 48L12 32Z",
	sale: "M14 14H54L88 48L50 86L14 50ZM28 24A5 5 0 1 0 28 34A5 5 0 1 0 28 24Z",
};
const BOX = "M20 24H80V84H20Z";
const STRIPES = "url(#stripes)"; // a gradient of the page
const TITLES = {
	home: "For you", cart: "Goes with your cart", checkout: "A little more", recent: "You looked at",
	popular: "Popular", similar: "Similar",
};
const WHY = {
	session: "fits your visit", together: "goes with it", trend: "trending now", popular: "popular with everybody",
	list: "from your visit", explored: "new: shown to learn who likes it", pinned: "the shop's choice",
	lifted_in: "brought forward by the shop",
};
const FALLBACKS = {
	popular: "nothing is known of this visit", model_error: "the model failed", no_consent: "not personal, as you asked",
	item: "the item's own list, until yours is there", trend: "not personal",
};

// How an item is drawn: one outline, in one colour or in stripes.
export const picture = ({category, colour, item_id}) => ({
	shape: SHAPES[category] ?? BOX,
	fill: colour === "of many colors" ? STRIPES : COLOURS[colour] ?? grey(colour ?? item_id ?? ""),
});

const grey = word => {
	const light = 90 + [...word].reduce((sum, letter) => (sum * 31 + letter.codePointAt(0)) % 100, 7);
	return `rgb(${light}, ${light}, ${light})`;
};

export const title = item => item?.title ?? item?.item_id ?? "";

// Minor units are hundredths in most currencies and none in some.
export const price = ({price_minor, currency}) => {
	if (price_minor == null) return "";
	if (!/^[A-Z]{3}$/.test(currency ?? "")) return String(price_minor);
	const format = new Intl.NumberFormat("en", {style: "currency", currency});
	return format.format(price_minor / 10 ** format.resolvedOptions().maximumFractionDigits);
};

export const soldOut = item => item?.stock != null && item.stock <= 0 || item?.status != null && item.status !== "active";

// Why an item stands in a list, in words. `named` gives an item's title.
export const reason = (list, place, named) => {
	const why = list.why[place], because = list.because[place];
	if (why === "pinned" || why === "explored") return WHY[why];
	if (because == null) return WHY[why] ?? "";
	if (list.name.startsWith("cart") || list.name === "checkout") return `goes with ${named(because)}`;
	return `because you viewed ${named(because)}`;
};

export const heading = (list, named) => {
	if (list.name === "product") return list.about.length ? `With ${named(list.about[0])}` : "With the item in view";
	if (list.place) return `${list.name[0].toUpperCase()}${list.name.slice(1)} in ${list.place.replaceAll("/", ", ")}`;
	return TITLES[list.name] ?? list.name;
};

// "fresh", or why it isn't.
export const state = list => list.state === "absent" ? "no list yet"
	: list.fallback ? `${list.state}: ${FALLBACKS[list.fallback] ?? list.fallback}` : list.state;

export const age = ms => ms < 950 ? "just now" : ms < 60_000 ? `${Math.round(ms / 1000)} s old`
	: ms < 3_600_000 ? `${Math.round(ms / 60_000)} min old` : `${Math.round(ms / 3_600_000)} h old`;

// A list answers a click if its newest event isn't older than the click. Both clocks are this machine's.
export const answers = (list, click) => click != null && list.event_time_ms != null && list.event_time_ms >= click.at_ms;

// Which items are new in a list, and which are gone.
export const difference = (before, after) => {
	const old = new Set(before), now = new Set(after);
	return {came: after.filter(item => !old.has(item)), left: before.filter(item => !now.has(item))};
};

// A path is a view: all items, one item, or the cart. An address that somebody typed may hold a % that escapes nothing.
export const view = path => {
	const item = /^\/item\/(.+)$/.exec(path);
	return item ? {name: "item", item: unescaped(item[1])} : {name: path === "/cart" ? "cart" : "items"};
};
const unescaped = text => { try { return decodeURIComponent(text); } catch { return text; } };
export const isSame = (one, other) => one.name === other.name && one.item === other.item;
export const path = item_id => `/item/${encodeURIComponent(item_id)}`;

// The lists that a view shows first. They make one page: an item stands on the first of them only.
export const first = ({name}) => ({item: ["product", "home"], cart: ["cart", "home"]}[name] ?? ["home", "cart"]);

// A cart is pieces by item.
export const add = (cart, item, pieces = 1) => ({...cart, [item]: (cart[item] ?? 0) + pieces});
export const remove = (cart, item) => Object.fromEntries(Object.entries(cart).filter(([one]) => one !== item));
export const pieces = cart => Object.values(cart).reduce((sum, each) => sum + each, 0);

export const matches = (items, query) => {
	const words = query.toLowerCase().split(/\s+/).filter(Boolean);
	return items.filter(item => words.every(word => [item.item_id, title(item), item.category, item.colour]
		.some(text => (text ?? "").toLowerCase().includes(word))));
};

// What an event says of an item; what isn't known is left out.
export const facts = ({item_id, category, price_minor, currency}) => ({item_id, category, price_minor, currency});

// What the panel waits for: an item that leaves all lists, or comes into one.
export const isDone = (waiting, shown) => waiting.wants === "gone"
	? Object.values(shown).every(list => !list.items.includes(waiting.item))
	: Object.values(shown).some(list => list.items.includes(waiting.item) && (!waiting.version || list.shelves === waiting.version));
