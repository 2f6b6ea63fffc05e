// How items look: a drawing, a tile, a row of tiles.
import * as shop from "/shop.js";
import {items, text} from "/state.js";

const SVG = "http://www.w3.org/2000/svg";
export const acts = {put: null, choose: null}; // what a tile's two buttons do with an item

export const drawing = item => {
	const {shape, fill} = shop.picture(item), svg = document.createElementNS(SVG, "svg");
	const path = document.createElementNS(SVG, "path");
	svg.setAttribute("viewBox", "0 0 100 100");
	svg.setAttribute("aria-hidden", "true");
	for (const [name, value] of Object.entries({d: shape, fill, stroke: "#6b7280", "fill-rule": "evenodd"})) path.setAttribute(name, value);
	svg.append(path);
	return svg;
};

export const button = (words, about, act, name) => {
	const made = text("button", words, name);
	if (about) made.append(text("span", ` ${about}`, "unseen"));
	made.addEventListener("click", act);
	return made;
};

const tile = item => {
	const made = document.createElement("li"), link = document.createElement("a");
	made.className = "tile";
	made.dataset.id = item.item_id;
	link.href = shop.path(item.item_id);
	link.append(drawing(item), text("span", shop.title(item), "title"));
	made.append(link, text("span", shop.price(item), "price"), text("span", "", "why"),
		button("Add to cart", shop.title(item), event => acts.put(item.item_id, event), "add"),
		button("Choose", shop.title(item), () => acts.choose(item.item_id), "choose"));
	return sold(made, item);
};

export const sold = (made, item) => {
	const is = shop.soldOut(item), add = made.querySelector(".add");
	made.classList.toggle("sold-out", is);
	add.disabled = is;
	add.firstChild.data = is ? "Sold out" : "Add to cart";
	return made;
};

// Keep the tiles that stay, so that nothing flickers and the focus stays where it is.
export const fill = (row, ids, why, mark) => {
	const old = new Map([...row.children].map(each => [each.dataset.id, each]));
	const focused = document.activeElement;
	const tiles = ids.map((id, place) => {
		const made = old.get(id) ?? tile(items.get(id) ?? {item_id: id});
		made.classList.toggle("came", mark && !old.has(id));
		made.querySelector(".why").textContent = why(place);
		return made;
	});
	row.replaceChildren(...tiles);
	if (row.contains(focused) && focused !== document.activeElement) focused.focus({preventScroll: true});
};
