"""What the shop shows where: from `feature_repo/shelves.py` to a plan, its versions, and the evaluation of rules."""
