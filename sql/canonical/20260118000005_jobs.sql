-- Migration: 20260118000005_jobs.sql

-- Create enum for job status
CREATE TYPE job_status AS ENUM (
  'PENDING',
  'QUEUED', 
  'SCRIPTING',
  'VOICE_GEN',
  'ALIGNMENT',
  'VISUAL_PLAN',
  'IMAGE_GEN',
  'TIMELINE',
  'RENDERING',
  'PACKAGING',
  'READY',
  'FAILED'
);

CREATE TABLE jobs (
  id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
  project_id UUID NOT NULL REFERENCES projects(id) ON DELETE CASCADE,
  user_id UUID NOT NULL REFERENCES auth.users(id) ON DELETE CASCADE,
  status job_status NOT NULL DEFAULT 'PENDING',
  progress INTEGER DEFAULT 0,
  status_message TEXT,
  cost_credits_reserved INTEGER DEFAULT 0,
  cost_credits_final INTEGER,
  failed_step TEXT,
  error_code TEXT,
  error_message TEXT,
  output_url TEXT,
  manifest_json JSONB,
  created_at TIMESTAMPTZ DEFAULT NOW(),
  started_at TIMESTAMPTZ,
  finished_at TIMESTAMPTZ,
  
  -- Constraints
  CONSTRAINT jobs_progress_check CHECK (progress BETWEEN 0 AND 100)
);

-- Indexes
CREATE INDEX idx_jobs_user ON jobs(user_id);
CREATE INDEX idx_jobs_project ON jobs(project_id);
CREATE INDEX idx_jobs_status ON jobs(status);
CREATE INDEX idx_jobs_created ON jobs(created_at DESC);

-- RLS
ALTER TABLE jobs ENABLE ROW LEVEL SECURITY;

CREATE POLICY jobs_select ON jobs
  FOR SELECT USING (user_id = auth.uid());

-- Service role can update jobs
CREATE POLICY jobs_service_update ON jobs
  FOR UPDATE USING (true);

-- Add foreign key to credit_ledger
ALTER TABLE credit_ledger
  ADD CONSTRAINT credit_ledger_job_fk
  FOREIGN KEY (job_id) REFERENCES jobs(id) ON DELETE SET NULL;
