"""The only room that knows Ray and Optuna: what is proposed, what runs next, where, and how it goes."""
