-- A loose object that is removed has one who does so, since another would remove what may be written again under the
-- same name. One that becomes loose while another of its version is being removed waits until that claim is old.
ALTER TABLE excom.loose_object ADD COLUMN claimed bool NOT NULL DEFAULT false;
