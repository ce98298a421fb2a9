"""`manage.py banyan_hp_doctor`, where Django looks for it."""
