-- Migration: 20260118000006_job_steps.sql

CREATE TYPE step_state AS ENUM ('pending', 'started', 'succeeded', 'failed');

CREATE TABLE job_steps (
  id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
  job_id UUID NOT NULL REFERENCES jobs(id) ON DELETE CASCADE,
  step_name TEXT NOT NULL,
  step_order INTEGER NOT NULL,
  state step_state DEFAULT 'pending',
  progress_pct INTEGER DEFAULT 0,
  status_message TEXT,
  error_message TEXT,
  logs_url TEXT,
  artifacts_json JSONB DEFAULT '{}',
  started_at TIMESTAMPTZ,
  finished_at TIMESTAMPTZ,
  
  -- Constraints
  CONSTRAINT job_steps_progress_check CHECK (progress_pct BETWEEN 0 AND 100)
);

-- Indexes
CREATE INDEX idx_job_steps_job ON job_steps(job_id);
CREATE UNIQUE INDEX idx_job_steps_unique ON job_steps(job_id, step_name);

-- RLS (inherit from jobs)
ALTER TABLE job_steps ENABLE ROW LEVEL SECURITY;

CREATE POLICY job_steps_select ON job_steps
  FOR SELECT USING (
    EXISTS (
      SELECT 1 FROM jobs WHERE jobs.id = job_steps.job_id AND jobs.user_id = auth.uid()
    )
  );
