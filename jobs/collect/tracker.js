// What a page loads: <script defer src="https://COLLECTOR/t.js" data-key="WRITE KEY" data-consent="granted"></script>
// Nothing is sent or stored before the visitor has agreed: data-consent, or liveshelf.consent("granted").
// An element with data-item_id (and data-category, data-price_minor, data-currency) is what the page shows: a `view`.
// A click on [data-track=add_to_cart] sends that event about the item around it; form[data-track=search] its first input.
// Served without comments and blanks, and with each _name as one letter (tracker.py): 2 kB is all that a page is asked for.
(_ => {
	let _doc = document, _nav = navigator, _store = localStorage, _script = _doc.currentScript;
	let _url = _consent => new URL("events?key=" + _script.dataset.key + "&consent=" + _consent, _script.src);
	let _on = (_target, _type, _do) => _target.addEventListener(_type, _do);
	let _json = JSON.stringify;
	let _now = _ => performance.now();
	let _random = _ => crypto.getRandomValues(new Uint32Array(4)).join("-");
	let _state = _ => _nav.globalPrivacyControl ? "denied" : _store.ls_consent || _script.dataset.consent;
	// The visitor's id is a cookie, so that the shop's server can read lists with it; 34e6 s are 13 months.
	let _visitor = _ => (/ls_id=([^;]+)/.exec(_doc.cookie) || [])[1];
	let _cookie = (_value, _age_s) => _doc.cookie = "ls_id=" + _value + ";path=/;samesite=lax;max-age=" + _age_s;
	let _post = (_consent, body) => fetch(_url(_consent), {method: "POST", body, keepalive: true});

	// An event that wasn't acknowledged waits, with its time, for the network or the next page; the newest 99 do.
	let _waiting = _ => JSON.parse(_store.ls_queue || "[]");
	let _keep = _events => _store.ls_queue = _json(
		[..._waiting(), ..._events.map(_event => ({event_time_ms: Date.now(), ..._event}))].slice(-99));
	let _send = (_events, _leaving) => {
		// sendBeacon outlives the page, but doesn't tell the answer; fetch does, so that a refusal for now isn't a loss.
		if (!_nav.onLine) _keep(_events);
		else if (!_leaving || !_nav.sendBeacon(_url("granted"), _json(_events)))
			_post("granted", _json(_events)).then(
				_answer => /429|5../.test(_answer.status) && _keep(_events), _ => _keep(_events));
	};
	let _track = (event_type, _fields, _leaving) => {
		if (_state() != "granted") return;
		if (!_visitor()) _cookie(_random(), 34e6);
		let _event = {
			schema_version: 1, event_id: _random(), event_type, visitor_id: _visitor(), channel: "web", ..._fields};
		_send([_event], _leaving);
		return _event;
	};

	let _view, _visible_ms = 0, _since_ms = _now(), _scrolled = 0;
	let _item = _element => {
		let {item_id, category, price_minor, currency} = (_element || _script).dataset;
		return {item_id, category, price_minor: price_minor && +price_minor, currency};
	};
	let _look = _ => _scrolled = Math.min(
		1, Math.max(_scrolled, (scrollY + innerHeight) / _doc.documentElement.scrollHeight));
	let _page = _ => ({dwell_ms: Math.round(_visible_ms + _now() - _since_ms), scroll_ratio: _look()});
	let _start = _ => {
		let _shown = _doc.querySelector("[data-item_id]"), _old = _waiting();
		_store.removeItem("ls_queue");
		if (_state() == "granted") {
			if (_shown && !_view) _view = _track("view", _item(_shown));
			if (_old[0]) _send(_old);
		}
		// The cookie goes when the denial was heard: one that found no network is sent from the next page.
		else if (_state() == "denied" && _visitor())
			_post("denied", _json({visitor_id: _visitor()})).then(_answer => _answer.ok && _cookie("", 0));
	};
	let _agree = _consent => {
		_store.ls_consent = _consent;
		_start();
	};

	_on(_doc, "click", ({target}) => {
		if (target = target.closest("[data-track]:not(form)"))
			_track(target.dataset.track, {..._item(target.closest("[data-item_id]")), ..._page()});
	});
	_on(_doc, "submit", ({target}) => {
		if (target.dataset.track)
			_track(target.dataset.track, {query: target.querySelector("input").value, ..._page()});
	});
	_on(window, "scroll", _look);
	_on(window, "online", _start);
	// Leaving sends the view again, with how long and how far, under its own event_id: it counts once.
	_on(_doc, "visibilitychange", _ => {
		if (_doc.hidden) {
			if (_view) _track("view", {..._view, ..._page()}, 1);
			_visible_ms += _now() - _since_ms;
		}
		_since_ms = _now();
	});
	window.liveshelf = {track: _track, consent: _agree, optOut: _ => _agree("denied")};
	_start();
})();
