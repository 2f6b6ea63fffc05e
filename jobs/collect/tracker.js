// What a page loads: <script defer src="https://COLLECTOR/t.js" data-key="WRITE KEY" data-consent="granted"></script>
// Nothing is sent or stored before the visitor has agreed: data-consent, or liveshelf.consent("granted").
// An element with data-item_id (and data-category, data-price_minor, data-currency) is what the page shows: a `view`.
// A click on [data-track=add_to_cart] sends that event about the item around it; form[data-track=search] its first text.
// Served without comments and blanks, and with each _name as one letter (tracker.py): 2 kB is all that a page is asked for.
{
	let _doc = document, _nav = navigator, _script = _doc.currentScript, _data = _script.dataset, _store = {},
		_yes = "granted", _no = "denied", _shown = "[data-item_id]", _view, _since_ms, _hidden_ms, _scrolled = 0,
		_on = (_type, _do, _target = _doc) => _target.addEventListener(_type, _do),
		// A page that the browser prepares may never be seen: whatever it does waits until it is.
		_seen = _do => _doc.prerendering ? _on("prerenderingchange", _do) : _do(),
		_json = JSON.stringify,
		_now = _ => performance.now(),
		_random = _ => crypto.getRandomValues(new Uint32Array(4)).join("-"),
		// A browser may refuse storage, have none, or have no room: then this page remembers for itself.
		_put = (_name, _value) => {
			try { _store[_name] = _value; } catch { _store = {..._store, [_name]: _value}; }
		},
		_state = _ => _nav.globalPrivacyControl ? _no : _store.ls_consent || _data.consent,
		// The visitor's id is a cookie, so that the shop's server can read lists with it, or set it; 34e6 s are 13 months.
		// A server's mistake (undefined, null, NaN, None, an object) would be one visitor: it is replaced.
		_visitor = _ => _doc.cookie.match(/(^|;\s)ls_id=(?!und|nul|NaN|Non|[[%])([^;]+)/)?.[2],
		_cookie = (_value, _age_s) => _doc.cookie = "ls_id=" + _value + ";path=/;samesite=lax;max-age=" + _age_s
			+ (window.location?.protocol[4] > "r" ? ";secure" : ""),
		_url = _consent => new URL("events?key=" + encodeURIComponent(_data.key) + "&consent=" + _consent, _script.src),
		_post = (_consent, _body) => fetch(_url(_consent), {method: "POST", body: _body, keepalive: 1}),

		// An event that wasn't acknowledged waits, with its time, for the network or the next page; the newest 99 do.
		_waiting = _ => {
			try { return [...JSON.parse(_store.ls_queue)]; } catch { return []; }
		},
		_keep = _events => _put("ls_queue", _json(
			[..._waiting(), ..._events.map(_event => ({event_time_ms: Date.now(), ..._event}))].slice(-99))),
		// The visitor's clock may be wrong by days: sent_ms tells the collector how long ago an event was by that clock.
		// sendBeacon outlives the page, but doesn't tell the answer; fetch does, so that a refusal for now (429, 5xx) isn't a
		// loss.
		_send = (_events, _leaving, _body = _json(_events.map(_event => ({..._event, sent_ms: Date.now()})))) =>
			_nav.onLine ? _leaving && _nav.sendBeacon(_url(_yes), _body) || _post(_yes, _body).then(
				_answer => _answer.status > 428 && _keep(_events), _ => _keep(_events)) : _keep(_events),
		// Without consent, or without a cookie to know the visitor by, there is no event.
		_track = (_type, _fields, _leaving, _event) => _seen(_ =>
			_state() == _yes && (_visitor() || _cookie(_random(), 34e6), _visitor()) && (_send([_event = {
				schema_version: 1, event_id: _random(), event_type: _type, visitor_id: _visitor(), channel: "web",
				..._fields}], _leaving), _event)),

		_item = ({item_id, category, price_minor: _price, currency}) =>
			({item_id, category, price_minor: +(_price || NaN), currency}),
		_look = _ => _scrolled = Math.min(
			1, Math.max(_scrolled, (scrollY + innerHeight) / _doc.documentElement.scrollHeight)),
		_page = _ => ({dwell_ms: _now() - _since_ms | 0, scroll_ratio: _look()}),
		_start = _ => _seen(_ => {
			let _said = _state(), _element = _doc.querySelector(_shown), _old = _waiting();
			delete _store.ls_queue;
			// After a denial the cookie goes when it was heard: one that found no network is sent from the next page.
			_said == _yes ? (_view ||= _element && _track("view", _item(_element.dataset)), _old[0] && _send(_old))
			: _said == _no && _visitor() && _post(_no, _json({visitor_id: _visitor()})).then(
				_answer => _answer.ok && _cookie("", 0));
		}),
		_agree = _consent => _start(_put("ls_consent", _consent));

	try { _store = localStorage || _store; } catch {}
	_on("click", ({target: _target}) => (_target = _target.closest("[data-track]:not(form)")) && _track(
		_target.dataset.track, {..._item((_target.closest(_shown) || _script).dataset), ..._page()}));
	// Only a search's text is sent, and only from an input that is made for text: others hold tokens and passwords.
	_on("submit", ({target: _target}) => _target.dataset.track == "search" && _track("search", {
		query: _target.querySelector("input:not([type]),[type=text],[type=search]")?.value, ..._page()}));
	_on("scroll", _look);
	_on("online", _start, window);
	// Leaving sends the view again, with how long and how far, under its own event_id: it counts once.
	_on("visibilitychange", _ => _doc.hidden
		? (_view && _track("view", {..._view, ..._page()}, 1), _hidden_ms = _now()) : _since_ms += _now() - _hidden_ms);
	liveshelf = {track: _track, consent: _agree, optOut: _ => _agree(_no)};
	_seen(_ => _start(_since_ms = _hidden_ms = _now()));
}
